// A small training with dropout, Adam and shuffled batches, which takes checkpoints and goes on
// from them: checkpointed_training FOLDER RESULT [steps, 200] [steps between checkpoints, 20].
// RESULT gets the final values of all variables. Prints a line for what it goes on from.

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "gradgraph/gradgraph.h"

namespace {

constexpr std::int64_t kSamples = 96, kBatch = 16, kInputs = 16, kClasses = 4;
constexpr std::int64_t kBatches = kSamples / kBatch;

gg::data::Dataset make_samples() {
  gg::Tensor inputs(gg::float32, {kSamples, kInputs}), labels(gg::int64, {kSamples});
  std::uint32_t state = 1;
  for (float& x : inputs.span<float>()) {
    state = state * 1664525U + 1013904223U;
    x = static_cast<float>(state >> 8U) / 16777216.0F - 0.5F;
  }
  for (std::int64_t i = 0; i < kSamples; ++i) {
    const float* row = inputs.data<float>() + i * kInputs;
    labels.data<std::int64_t>()[i] = (row[0] > 0 ? 2 : 0) + (row[1] > row[2] ? 1 : 0);
  }
  return {{"x", inputs}, {"labels", labels}};
}

void train(const char* folder, const char* result, std::int64_t steps, std::int64_t every) {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {gg::any, kInputs}, "x");
  const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
  const auto training = gg::placeholder(graph, gg::boolean, {}, "training");
  auto h = gg::nn::dense(x, {.units = 64, .activation = gg::relu});
  h = gg::nn::batch_norm(gg::nn::dropout(h, 0.3, training), {.training = training}).output;
  const auto logits = gg::nn::dense(h, {.units = kClasses});
  const auto loss = gg::mean(gg::sparse_softmax_cross_entropy(logits, labels));
  const auto train_op = gg::Adam{.learning_rate = 1e-2}.minimize(loss);

  gg::Session session(graph, {.seed = 7, .threads = 1});
  gg::Checkpoints checkpoints({.directory = folder, .keep = 3, .best = "loss"});
  gg::TrainingProgress progress{.data_seed = 11};
  if (auto saved = checkpoints.restore(session, graph)) {
    progress = *saved;
    std::printf("goes on from step %lld\n", static_cast<long long>(session.step()));
    std::fflush(stdout);
  }

  auto step = session.prepare({x, labels, training}, {loss, train_op});
  const gg::Tensor yes(true);
  gg::data::Batches batches(make_samples(), kBatch, {.seed = progress.data_seed});
  while (session.step() < steps) {
    batches.restart(progress.epoch, progress.position);
    while (session.step() < steps && progress.position < kBatches) {
      const auto* batch = batches.next();
      progress.metrics["loss"] = step((*batch)["x"], (*batch)["labels"], yes)[0].item<float>();
      ++progress.position;
      if (session.step() % every == 0) checkpoints.save(session, graph, progress);
    }
    if (progress.position == kBatches) ++progress.epoch, progress.position = 0;
  }
  gg::save_weights(session, graph, result, {.variables = gg::variables(graph)});
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::fputs("checkpointed_training FOLDER RESULT [STEPS] [EVERY]\n", stderr);
    return 2;
  }
  try {
    train(arguments[1], arguments[2], count > 3 ? std::atoll(arguments[3]) : 200,
          count > 4 ? std::atoll(arguments[4]) : 20);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}

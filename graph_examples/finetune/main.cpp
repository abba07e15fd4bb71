/// A network that PyTorch trained on ten digits learns ten letters, from 50 pictures of each.
#include <cstdio>
#include <filesystem>
#include <string>

#include "finetune/display.h"
#include "gradgraph/gradgraph.h"

namespace {

/// Flags for one part of the training, which writes files of its own.
gg::TrainingFlags part(gg::TrainingFlags flags, const std::string& name) {
  if (!flags.checkpoints.empty()) flags.checkpoints /= name;
  if (!flags.events.empty()) flags.events /= name;
  if (!flags.metrics.empty()) flags.metrics += "." + name;
  return flags;
}

int run(const gg::TrainingFlags& flags, const std::filesystem::path& weights) {
  const gg::data::Dataset train = display::letters(500, flags.seed).first(flags.limit),
                          held_out = display::letters(2000, flags.seed + 1000).first(flags.limit);

  // The layers that the file has, by the same names.
  gg::Graph graph;
  const auto images = gg::placeholder(graph, gg::float32, {gg::any, 16, 16, 1}, "images");
  const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
  const auto convolution = [](gg::Output x, std::int64_t filters, const char* name) {
    return gg::nn::max_pool2d(
        gg::nn::conv2d(
            x, {.filters = filters, .activation = gg::relu, .padding = gg::Padding::same}, name),
        2);
  };
  auto x = convolution(images, 8, "conv1");
  x = convolution(x, 16, "conv2");
  x = gg::nn::flatten(gg::transpose(x, {0, 3, 1, 2}));  // PyTorch's channels come first
  x = gg::nn::dense(x, {.units = 48, .activation = gg::relu}, "hidden");
  const auto logits = gg::nn::dense(x, {.units = 10}, "letters");

  const auto losses = gg::sparse_softmax_cross_entropy(logits, labels);
  const auto loss = gg::named(gg::mean(losses), "loss");
  const auto correct = gg::cast(gg::equal(gg::argmax(logits, -1), labels), gg::float32);
  const auto accuracy = gg::named(gg::mean(correct), "accuracy");

  // First only the new layer moves, then everything does, at a tenth of the rate.
  gg::TrainingFlags slowly = flags;
  slowly.learning_rate = flags.learning_rate / 10;
  gg::TrainingStep step = {.batch = {.arrays = {{"images", images}, {"labels", labels}}},
                           .loss = loss,
                           .metrics = {{"accuracy", accuracy}}};
  const auto train_last = gg::make_optimizer(flags, train.size())
                              .minimize(loss, gg::trainable_variables(graph, "letters/*"));
  const auto train_all = gg::make_optimizer(slowly, train.size()).minimize(loss);

  // What the file has goes to where it belongs, but for the old last layer.
  gg::Session session(graph, gg::session_options(flags));
  const gg::LoadReport report = gg::load_weights(
      session, graph, weights,
      {.strict = false, .names = {{"output.*", ""}}, .convention = gg::Convention::pytorch});
  const auto say = [&](const char* when) {
    if (flags.quiet) return;
    const auto means = gg::evaluate(session, step, held_out);
    std::printf("%s: accuracy %.4f\n", when, means[1].validation);
    std::fflush(stdout);
  };

  const gg::TrainingData data = {
      train, held_out,
      "letters on a display; " + weights.filename().string() + ": " + report.to_string()};
  say("before");
  step.train = train_last;
  if (const int status = gg::train(part(flags, "last_layer"), session, step, data)) return status;
  say("the new layer trained");
  slowly.quiet = true;  // it is the same model
  step.train = train_all;
  if (const int status = gg::train(part(slowly, "all"), session, step, data)) return status;
  say("all layers trained");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::filesystem::path weights = std::filesystem::path(SOURCES) / "finetune/digits.safetensors";
  return gg::run_program(
      argc, argv,
      {.name = "finetune",
       .description =
           "Fine-tunes a network that PyTorch trained: first a new last layer, then all.",
       .defaults = {.epochs = 30, .batch_size = 20, .learning_rate = 1e-2},
       .flags = {{"--weights", &weights, "FILE", "With the layers that make_weights.py saves"}}},
      [&](const gg::TrainingFlags& flags) { return run(flags, weights); });
}

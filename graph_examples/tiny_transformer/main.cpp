/// A transformer of two blocks that learns to sort: "3 1 2 >" goes on with "1 2 3".
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

namespace {

constexpr std::int32_t kDigits = 10, kSeparator = kDigits;

/// Digits, a separator, and the same digits sorted: int32 [count, 2 * length + 1].
gg::Tensor examples_of_sorting(std::int64_t count, std::int64_t length, std::uint64_t seed) {
  gg::Tensor result(gg::int32, {count, 2 * length + 1});
  for (std::int64_t i = 0; i < count; ++i) {
    gg::data::Random random(seed, 0, i);
    std::int32_t* const digits = result.data<std::int32_t>() + i * (2 * length + 1);
    std::int32_t* const sorted = digits + length + 1;
    for (std::int64_t j = 0; j < length; ++j)
      digits[j] = sorted[j] = static_cast<std::int32_t>(random.below(kDigits));
    digits[length] = kSeparator;
    std::sort(sorted, sorted + length);
  }
  return result;
}

/// Attention, then two dense layers, each of them added to what comes in.
gg::Output block(gg::Output x, const std::string& name) {
  const auto scope = gg::scope(x.graph(), name);
  const gg::nn::MultiHeadAttention attend({.heads = 4, .causal = true});
  x = x + attend(gg::nn::layer_norm(x, 1e-5, "norm1"));
  const std::int64_t width = x.shape()[2];
  auto y = gg::nn::layer_norm(x, 1e-5, "norm2");
  y = gg::nn::dense(y, {.units = 4 * width, .activation = gg::gelu}, "wide");
  return x + gg::nn::dense(y, {.units = width}, "narrow");
}

int run(const gg::TrainingFlags& flags, std::int64_t length) {
  const gg::data::Dataset all = {{"sequences", examples_of_sorting(12000, length, flags.seed)}};
  auto [train, held_out] = all.split(10000);
  train = train.first(flags.limit), held_out = held_out.first(flags.limit);

  // The model: from each token, and all before it, the next one. Those behind the separator
  // count: they are the only ones that can be known.
  gg::Graph graph;
  const std::int64_t steps = 2 * length, width = 64;
  const auto sequence = gg::placeholder(graph, gg::int32, {gg::any, steps + 1}, "sequences");
  const auto places =
      gg::variable(gg::random_normal(graph, {steps, width}, gg::float32, 0, 0.1), "places");
  auto x =
      gg::nn::embedding(gg::slice(sequence, {0, 0}, {-1, steps}), kDigits + 1, width) + places;
  for (const char* name : {"block1", "block2"}) x = block(x, name);
  x = gg::nn::layer_norm(x, 1e-5, "norm");
  const auto scores =
      gg::nn::dense(gg::slice(x, {0, length, 0}, {-1, -1, -1}), {.units = kDigits}, "logits");
  const auto sorted = gg::slice(sequence, {0, length + 1}, {-1, -1});

  const auto loss = gg::named(gg::mean(gg::sparse_softmax_cross_entropy(scores, sorted)), "loss");
  const auto guesses = gg::argmax(scores, -1);
  const auto is_right = gg::cast(gg::equal(guesses, gg::cast(sorted, gg::int64)), gg::float32);
  const auto accuracy = gg::named(gg::mean(is_right), "accuracy");
  const auto all_right = gg::named(gg::mean(gg::min(is_right, -1)), "all_right");
  const auto train_op = gg::make_optimizer(flags, train.size()).minimize(loss);

  gg::Session session(graph, gg::session_options(flags));
  const int status =
      gg::train(flags, session,
                {.batch = {.arrays = {{"sequences", sequence}}},
                 .loss = loss,
                 .metrics = {{"accuracy", accuracy}, {"whole sequences", all_right}},
                 .train = train_op},
                {.training = train, .validation = held_out, .source = "digits to sort"});
  if (status != 0 || flags.quiet) return status;

  // Three sequences that it has never seen, of which it gets the digits and no more: each token
  // that it writes is part of what it reads next.
  gg::Tensor tokens = examples_of_sorting(3, length, flags.seed + 1000);
  std::int32_t* const token = tokens.data<std::int32_t>();
  for (std::int64_t i = 0; i < 3; ++i)
    std::fill_n(token + i * (steps + 1) + length + 1, length, 0);
  for (std::int64_t j = 0; j < length; ++j) {
    const gg::Tensor written = session.run({{sequence, tokens}}, guesses);
    for (std::int64_t i = 0; i < 3; ++i)
      token[i * (steps + 1) + length + 1 + j] =
          static_cast<std::int32_t>(written.at<std::int64_t>({i, j}));
  }
  for (std::int64_t k = 0; k < tokens.num_elements(); ++k) {
    const char character = token[k] == kSeparator ? '>' : static_cast<char>('0' + token[k]);
    std::printf("%c%c", character, (k + 1) % (steps + 1) == 0 ? '\n' : ' ');
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t length = 8;
  return gg::run_program(argc, argv,
                         {.name = "tiny_transformer",
                          .description = "Trains a transformer to sort digits.",
                          .defaults = {.epochs = 6, .batch_size = 64, .learning_rate = 2e-3},
                          .flags = {{"--length", &length, "N", "Digits to sort"}}},
                         [&](const gg::TrainingFlags& flags) { return run(flags, length); });
}

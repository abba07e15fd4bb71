/// What layers cost beside the same model written by hand of ops: an LSTM, a block of a
/// transformer, a variational autoencoder, each trained in turns with its double. Prints medians
/// of steps, and of the ratios of neighbours, a line of JSON per model.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

namespace {

/// From what is fed to a scalar loss.
using Model = std::function<gg::Output(gg::Output)>;

gg::Output kernel(gg::Graph& graph, const gg::Shape& shape, const char* name) {
  const double bound = std::sqrt(6. / static_cast<double>(shape[0] + shape[1]));
  return gg::variable(gg::random_uniform(graph, shape, gg::float32, -bound, bound), name);
}
gg::Output bias(gg::Graph& graph, std::int64_t size, const char* name) {
  return gg::variable(graph, gg::Tensor::zeros(gg::float32, {size}), name);
}
gg::Output dense(gg::Output x, std::int64_t units) {
  const std::int64_t inputs = x.shape()[x.rank() - 1];
  return gg::matmul(x, kernel(x.graph(), {inputs, units}, "kernel")) +
         bias(x.graph(), units, "bias");
}

gg::Output lstm_of_layers(gg::Output x) {
  const auto states = gg::nn::Lstm({.units = 128})(x).outputs;
  return gg::mean(gg::square(states));
}
gg::Output lstm_of_ops(gg::Output x) {
  constexpr std::int64_t kUnits = 128;
  gg::Graph& graph = x.graph();
  const std::int64_t steps = x.shape()[1];
  gg::Tensor start = gg::Tensor::zeros(gg::float32, {4 * kUnits});
  std::fill_n(start.data<float>() + kUnits, kUnits, 1.F);
  const auto inputs = gg::matmul(x, kernel(graph, {x.shape()[2], 4 * kUnits}, "kernel")) +
                      gg::variable(graph, start, "bias");
  const auto recurrent = kernel(graph, {kUnits, 4 * kUnits}, "recurrent_kernel");
  const std::vector<std::int64_t> ones(static_cast<std::size_t>(steps), 1);
  gg::Output hidden, cell;
  std::vector<gg::Output> states;
  for (const auto& now : gg::split(inputs, ones, 1)) {
    auto sums = gg::squeeze(now, {1});
    if (hidden) sums = sums + gg::matmul(hidden, recurrent);
    const auto gates = gg::split(sums, std::vector<std::int64_t>(4, kUnits), -1);
    auto kept = gg::sigmoid(gates[0]) * gg::tanh(gates[2]);
    if (cell) kept = gg::sigmoid(gates[1]) * cell + kept;
    cell = kept;
    hidden = gg::sigmoid(gates[3]) * gg::tanh(cell);
    states.push_back(hidden);
  }
  return gg::mean(gg::square(gg::stack(states, 1)));
}

gg::Output transformer_of_layers(gg::Output x) {
  const std::int64_t width = x.shape()[2];
  x = x + gg::nn::MultiHeadAttention({.heads = 4, .causal = true})(gg::nn::layer_norm(x));
  auto y = gg::nn::dense(gg::nn::layer_norm(x), {.units = 4 * width, .activation = gg::relu});
  return gg::mean(gg::square(x + gg::nn::dense(y, {.units = width})));
}
gg::Output normalized(gg::Output x) {
  const std::int64_t width = x.shape()[2];
  const auto scale = gg::variable(x.graph(), gg::Tensor::full(gg::float32, {width}, 1), "scale");
  return gg::standardize(x) * scale + bias(x.graph(), width, "offset");
}
gg::Output transformer_of_ops(gg::Output x) {
  constexpr std::int64_t kHeads = 4;
  const std::int64_t steps = x.shape()[1], width = x.shape()[2];
  const auto input = normalized(x);
  const auto head = [&] {
    return gg::transpose(gg::reshape(dense(input, width), {-1, steps, kHeads, width / kHeads}),
                         {0, 2, 1, 3});
  };
  const auto queries = head(), keys = head(), values = head();
  gg::Tensor seen = gg::Tensor::full(gg::boolean, {steps, steps}, 0);
  for (std::int64_t i = 0; i < steps; ++i)
    std::fill_n(seen.data<bool>() + i * steps, i + 1, true);
  const auto scores = gg::matmul(queries, keys, {.transpose_b = true}) *
                      (1 / std::sqrt(static_cast<double>(width / kHeads)));
  const auto weights = gg::softmax(
      gg::where(gg::constant(x.graph(), seen), scores, -std::numeric_limits<double>::infinity()));
  const auto joined =
      gg::reshape(gg::transpose(gg::matmul(weights, values), {0, 2, 1, 3}), {-1, steps, width});
  x = x + dense(joined, width);
  const auto y = gg::relu(dense(normalized(x), 4 * width));
  return gg::mean(gg::square(x + dense(y, width)));
}

gg::Output vae(gg::Output x, const std::function<gg::Output(gg::Output, std::int64_t)>& layer) {
  const auto hidden = gg::relu(layer(x, 400));
  const auto mean = layer(hidden, 16), log_variance = layer(hidden, 16);
  const auto noise = gg::random_normal(x.graph(), gg::shape_of(mean));
  const auto z = mean + noise * gg::exp(log_variance * 0.5);
  const auto logits = layer(gg::relu(layer(z, 400)), x.shape()[1]);
  const auto wrong = gg::sum(gg::sigmoid_cross_entropy(logits, x), -1);
  const auto far = gg::sum(gg::square(mean) + gg::exp(log_variance) - log_variance - 1, -1);
  return gg::mean(wrong) + gg::mean(far) * 0.5;
}
gg::Output vae_of_layers(gg::Output x) {
  return vae(x,
             [](gg::Output y, std::int64_t units) { return gg::nn::dense(y, {.units = units}); });
}
gg::Output vae_of_ops(gg::Output x) { return vae(x, dense); }

/// A model with what trains it.
struct Trained {
  Trained(const Model& model, const gg::Shape& shape, int threads)
      : x(gg::placeholder(graph, gg::float32, shape, "x")),
        loss(model(x)),
        train(gg::Adam{}.minimize(loss)),
        session(graph, {.seed = 1, .threads = threads}),
        step(session.prepare({x}, {loss, train})) {}
  double seconds(const gg::Tensor& batch) {
    const auto begin = std::chrono::steady_clock::now();
    step(batch);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  gg::Graph graph;
  gg::Output x, loss, train;
  gg::Session session;
  gg::Callable step;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void measure(const char* name, const Model& layers, const Model& ops, gg::Shape shape,
             std::int64_t batch_size, int pairs, int threads) {
  Trained of_layers(layers, shape, threads), of_ops(ops, shape, threads);
  shape.set(0, batch_size);
  gg::Tensor batch(gg::float32, shape);
  gg::data::Random random(1, 0, 0);
  for (float& value : batch.span<float>()) value = static_cast<float>(random.uniform());
  for (int i = 0; i < 5; ++i) of_layers.seconds(batch), of_ops.seconds(batch);
  std::vector<double> first, second, ratios;
  for (int i = 0; i < pairs; ++i) {
    // Whoever comes second finds caches that the other has filled.
    double one = 0, other = 0;
    if (i % 2 == 0) one = of_layers.seconds(batch);
    other = of_ops.seconds(batch);
    if (i % 2 == 1) one = of_layers.seconds(batch);
    first.push_back(one), second.push_back(other), ratios.push_back(one / other);
  }
  std::printf("{\"model\": \"%s\", \"layers_ms\": %.3f, \"ops_ms\": %.3f, \"ratio\": %.4f}\n",
              name, 1e3 * median(first), 1e3 * median(second), median(ratios));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int pairs = 400, threads = 0;
  CLI::App app("Measures what layers cost beside the same model written by hand of ops.");
  app.add_option("--pairs", pairs, "Steps of each")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", threads, "CPU threads; 0 means all cores")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    measure("lstm", lstm_of_layers, lstm_of_ops, {gg::any, 32, 64}, 32, pairs, threads);
    measure("transformer", transformer_of_layers, transformer_of_ops, {gg::any, 32, 64}, 32,
            pairs, threads);
    measure("vae", vae_of_layers, vae_of_ops, {gg::any, 784}, 128, pairs, threads);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

#include "beyond_models.h"

#include <cmath>
#include <functional>
#include <numbers>

#include "models.h"

namespace bench {
namespace {

constexpr int kBatches = 8;
constexpr std::int64_t kWords = 64, kClasses = 10;

using Tensors = std::vector<gg::Tensor>;

std::vector<Tensors> batches_of(const std::function<Tensors(gg::data::Random&)>& make) {
  std::vector<Tensors> batches;
  for (int i = 0; i < kBatches; ++i) {
    gg::data::Random random(1, 0, i);
    batches.push_back(make(random));
  }
  return batches;
}

/// Words, and of each the next one, which in three cases of four follows from it.
Tensors sentences(gg::data::Random& random, const gg::Shape& shape) {
  gg::Tensor words(gg::int32, shape), next(gg::int32, shape);
  const auto any_word = [&] { return static_cast<std::int32_t>(random.below(kWords)); };
  std::int32_t word = 0;
  for (std::int64_t i = 0; i < words.num_elements(); ++i) {
    if (i % shape[1] == 0) word = any_word();
    words.data<std::int32_t>()[i] = word;
    word = random.below(4) == 0 ? any_word() : (5 * word + 1) % kWords;
    next.data<std::int32_t>()[i] = word;
  }
  return {words, next};
}

/// Numbers in [-1, 1], noise on a pattern of each class, and the classes, of which one in four is
/// wrong: a loss near 0 would show differences of rounding.
Tensors classes(gg::data::Random& random, const gg::Shape& shape) {
  gg::Tensor x(gg::float32, shape), labels(gg::int64, {shape[0]});
  const std::int64_t size = x.num_elements() / shape[0];
  for (std::int64_t i = 0; i < shape[0]; ++i) {
    const auto label = random.below(kClasses);
    labels.data<std::int64_t>()[i] = random.below(4) == 0 ? random.below(kClasses) : label;
    for (std::int64_t j = 0; j < size; ++j) {
      const double pattern = std::sin(1.7 * label + 0.9 * static_cast<double>(j));
      x.data<float>()[i * size + j] =
          static_cast<float>(1.8 * random.uniform() - 0.9 + 0.1 * pattern);
    }
  }
  return {x, labels};
}

/// Pixels in [0, 1], and what the encoder's distribution is drawn with: fed, so that all systems
/// draw the same.
Tensors pixels_and_noise(gg::data::Random& random, std::int64_t samples, std::int64_t latent) {
  gg::Tensor pixels = classes(random, {samples, 784})[0];
  for (float& pixel : pixels.span<float>()) pixel = pixel / 2 + 0.5F;
  gg::Tensor noise(gg::float32, {samples, latent});
  for (float& value : noise.span<float>()) {
    const double length = std::sqrt(-2 * std::log(1 - random.uniform()));
    value = static_cast<float>(length * std::cos(2 * std::numbers::pi * random.uniform()));
  }
  return {pixels, noise};
}

gg::Output placeholder(gg::Graph& graph, const char* name, const gg::Shape& sample,
                       gg::DType dtype = gg::float32) {
  std::vector<std::int64_t> dims = {gg::any};
  for (int i = 0; i < sample.rank(); ++i) dims.push_back(sample[i]);
  return gg::placeholder(graph, dtype, gg::Shape(dims), name);
}

gg::Output mean_cross_entropy(gg::Output logits, gg::Output labels) {
  return gg::mean(gg::sparse_softmax_cross_entropy(logits, labels));
}

BeyondModel lstm(gg::Graph& graph) {
  constexpr std::int64_t kSteps = 20;
  const auto words = placeholder(graph, "words", {kSteps}, gg::int32);
  const auto next = placeholder(graph, "next", {kSteps}, gg::int32);
  const auto states = gg::nn::Lstm({.units = 128})(gg::nn::embedding(words, kWords, 64)).outputs;
  const auto logits = gg::nn::dense(states, {.units = kWords}, "logits");
  return {{words, next}, mean_cross_entropy(logits, next), {}, batches_of([](auto& random) {
            return sentences(random, {64, kSteps});
          })};
}

/// Attention, then two dense layers, each of them added to what comes in.
gg::Output transformer_block(gg::Output x, const char* name) {
  const auto scope = gg::scope(x.graph(), name);
  const gg::nn::MultiHeadAttention attend({.heads = 4, .causal = true});
  x = x + attend(gg::nn::layer_norm(x, 1e-5, "norm1"));
  const std::int64_t width = x.shape()[2];
  const auto gelu = [](gg::Output y) { return gg::gelu(y); };
  auto y = gg::nn::layer_norm(x, 1e-5, "norm2");
  y = gg::nn::dense(y, {.units = 4 * width, .activation = gelu}, "wide");
  return x + gg::nn::dense(y, {.units = width}, "narrow");
}

BeyondModel transformer(gg::Graph& graph) {
  constexpr std::int64_t kLength = 32, kWidth = 64;
  const auto words = placeholder(graph, "words", {kLength}, gg::int32);
  const auto next = placeholder(graph, "next", {kLength}, gg::int32);
  const auto places =
      gg::variable(gg::random_normal(graph, {kLength, kWidth}, gg::float32, 0, 0.1), "places");
  auto x = gg::nn::embedding(words, kWords, kWidth) + places;
  for (const char* name : {"block1", "block2"}) x = transformer_block(x, name);
  const auto logits =
      gg::nn::dense(gg::nn::layer_norm(x, 1e-5, "norm"), {.units = kWords}, "logits");
  return {{words, next}, mean_cross_entropy(logits, next), {}, batches_of([](auto& random) {
            return sentences(random, {32, kLength});
          })};
}

BeyondModel vae(gg::Graph& graph) {
  constexpr std::int64_t kPixels = 784, kLatent = 20;
  const auto pixels = placeholder(graph, "pixels", {kPixels});
  const auto noise = placeholder(graph, "noise", {kLatent});
  auto x = gg::nn::dense(pixels, {.units = 400, .activation = gg::relu}, "encode");
  const auto mean = gg::nn::dense(x, {.units = kLatent}, "mean");
  const auto log_variance = gg::nn::dense(x, {.units = kLatent}, "log_variance");
  x = mean + noise * gg::exp(log_variance * 0.5);
  x = gg::nn::dense(x, {.units = 400, .activation = gg::relu}, "decode");
  const auto logits = gg::nn::dense(x, {.units = kPixels}, "drawn");
  const auto wrong = gg::sum(gg::sigmoid_cross_entropy(logits, pixels), -1);
  const auto far = gg::sum(gg::square(mean) + gg::exp(log_variance) - log_variance - 1, -1);
  return {{pixels, noise},
          gg::mean(wrong) + gg::mean(far) * 0.5,
          {},
          batches_of([](auto& random) { return pixels_and_noise(random, 128, kLatent); })};
}

/// Layers of ResNet-20: convolutions with a border that keeps the size, as PyTorch's
/// `padding=1`, each normalised by its batch.
struct Residual {
  gg::Output training;

  gg::Output convolution(gg::Output x, std::int64_t filters, std::int64_t stride,
                         std::int64_t size, const std::string& name) const {
    const auto scope = gg::scope(x.graph(), name);
    const std::int64_t border = size / 2;
    x = gg::nn::conv2d(x, {.filters = filters,
                           .kernel = size,
                           .strides = stride,
                           .padding = gg::Padding::explicit_,
                           .border = {border, border, border, border},
                           .use_bias = false,
                           .kernel_initializer = gg::nn::he_normal()});
    return gg::nn::batch_norm(x, {.training = training, .momentum = 0.9, .epsilon = 1e-5}).output;
  }

  /// Two convolutions, added to what comes in. Source: He et al. 2016.
  gg::Output block(gg::Output x, std::int64_t filters, std::int64_t stride) const {
    auto y = gg::relu(convolution(x, filters, stride, 3, "conv1"));
    y = convolution(y, filters, 1, 3, "conv2");
    if (stride != 1) x = convolution(x, filters, stride, 1, "shortcut");
    return gg::relu(x + y);
  }
};

BeyondModel resnet(gg::Graph& graph) {
  const auto images = placeholder(graph, "images", {32, 32, 3});
  const auto labels = placeholder(graph, "labels", {}, gg::int64);
  const auto training = gg::placeholder(graph, gg::boolean, {}, "training");
  const Residual layers = {training};
  auto x = gg::relu(layers.convolution(images, 16, 1, 3, "stem"));
  for (int i = 0; i < 9; ++i) {
    const auto scope = gg::scope(graph, "block" + std::to_string(i));
    x = layers.block(x, 16 << (i / 3), i == 3 || i == 6 ? 2 : 1);
  }
  const auto logits = gg::nn::dense(gg::mean(x, {1, 2}), {.units = kClasses}, "logits");
  return {{images, labels, training},
          mean_cross_entropy(logits, labels),
          {},
          batches_of([](auto& random) {
            Tensors batch = classes(random, {64, 32, 32, 3});
            batch.emplace_back(true);
            return batch;
          })};
}

BeyondModel mlp(gg::Graph& graph) {
  constexpr std::int64_t kUnits = 256;
  const auto features = placeholder(graph, "features", {kUnits});
  const auto labels = placeholder(graph, "labels", {}, gg::int64);
  auto x = features;
  for (const char* name : {"layer1", "layer2"}) {
    const auto scope = gg::scope(graph, name);
    x = gg::tanh(gg::nn::layer_norm(gg::nn::dense(x, {.units = kUnits})));
  }
  const auto logits = gg::nn::dense(x, {.units = kClasses}, "logits");
  return {
      {features, labels}, mean_cross_entropy(logits, labels), {}, batches_of([](auto& random) {
        return classes(random, {256, kUnits});
      })};
}

BeyondModel cnn_inference(gg::Graph& graph) {
  const Model model = make_model(graph, "cnn");
  return {
      {model.feeds[0], model.feeds[1]}, model.loss, {model.logits}, batches_of([](auto& random) {
        return classes(random, {1, 28, 28, 1});
      })};
}

}  // namespace

BeyondModel make_beyond_model(gg::Graph& graph, const std::string& name) {
  if (name == "cnn_inference") return cnn_inference(graph);
  BeyondModel model;
  if (name == "lstm")
    model = lstm(graph);
  else if (name == "transformer")
    model = transformer(graph);
  else if (name == "vae")
    model = vae(graph);
  else if (name == "resnet")
    model = resnet(graph);
  else if (name == "mlp")
    model = mlp(graph);
  else
    throw gg::BuildError("there is no model '" + name + "'");
  model.fetches = {model.loss, gg::Adam{.learning_rate = 1e-3}.minimize(model.loss)};
  return model;
}

}  // namespace bench

#include "beyond_models.h"

#include <cmath>
#include <functional>
#include <map>
#include <numbers>
#include <string_view>

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

/// Images, and of each pixel the mean of its channels.
Tensors images_and_means(gg::data::Random& random, const gg::Shape& shape) {
  gg::Tensor images = classes(random, shape)[0],
             means(gg::float32, {shape[0], shape[1], shape[2], 1});
  const std::int64_t channels = shape[3];
  for (std::int64_t i = 0; i < means.num_elements(); ++i) {
    float sum = 0;
    for (std::int64_t c = 0; c < channels; ++c) sum += images.data<float>()[i * channels + c];
    means.data<float>()[i] = sum / static_cast<float>(channels);
  }
  return {images, means};
}

/// Words in [0, vocabulary), and of each row whether its first one is in the lower half.
Tensors words_and_halves(gg::data::Random& random, const gg::Shape& shape,
                         std::int64_t vocabulary) {
  gg::Tensor words(gg::int32, shape), halves(gg::int64, {shape[0]});
  for (auto& word : words.span<std::int32_t>())
    word = static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(vocabulary)));
  const std::int64_t length = words.num_elements() / shape[0];
  for (std::int64_t i = 0; i < shape[0]; ++i)
    halves.data<std::int64_t>()[i] = words.data<std::int32_t>()[i * length] < vocabulary / 2;
  return {words, halves};
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
  auto y = gg::nn::layer_norm(x, 1e-5, "norm2");
  y = gg::nn::dense(y, {.units = 4 * width, .activation = gg::gelu}, "wide");
  return x + gg::nn::dense(y, {.units = width}, "narrow");
}

template <std::int64_t Samples, std::int64_t Length, std::int64_t Width>
BeyondModel transformer(gg::Graph& graph) {
  const auto words = placeholder(graph, "words", {Length}, gg::int32);
  const auto next = placeholder(graph, "next", {Length}, gg::int32);
  const auto places =
      gg::variable(gg::random_normal(graph, {Length, Width}, gg::float32, 0, 0.1), "places");
  auto x = gg::nn::embedding(words, kWords, Width) + places;
  for (const char* name : {"block1", "block2"}) x = transformer_block(x, name);
  const auto logits =
      gg::nn::dense(gg::nn::layer_norm(x, 1e-5, "norm"), {.units = kWords}, "logits");
  return {{words, next}, mean_cross_entropy(logits, next), {}, batches_of([](auto& random) {
            return sentences(random, {Samples, Length});
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
                         std::int64_t size, const std::string& name,
                         std::int64_t groups = 1) const {
    const auto scope = gg::scope(x.graph(), name);
    x = gg::nn::conv2d(x, {.filters = filters,
                           .kernel = size,
                           .strides = stride,
                           .padding = gg::Padding::explicit_,
                           .border = gg::Border::all(size / 2),
                           .groups = groups,
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

  /// A convolution of each channel by itself, between two across channels. Source: Sandler et
  /// al. 2018.
  gg::Output inverted_block(gg::Output x, std::int64_t filters, std::int64_t stride) const {
    const std::int64_t channels = x.shape()[3], wide = 4 * channels;
    auto y = gg::relu6(convolution(x, wide, 1, 1, "wide"));
    y = gg::relu6(convolution(y, wide, stride, 3, "depthwise", wide));
    y = convolution(y, filters, 1, 1, "narrow");
    return stride == 1 && filters == channels ? x + y : y;
  }
};

/// Images, and which layer's mean of each goes into a class.
BeyondModel image_classes(gg::Graph& graph, std::int64_t samples,
                          const std::function<gg::Output(const Residual&, gg::Output)>& layers) {
  const auto images = placeholder(graph, "images", {32, 32, 3});
  const auto labels = placeholder(graph, "labels", {}, gg::int64);
  const auto training = gg::placeholder(graph, gg::boolean, {}, "training");
  const auto x = layers({training}, images);
  const auto logits = gg::nn::dense(gg::mean(x, {1, 2}), {.units = kClasses}, "logits");
  return {{images, labels, training},
          mean_cross_entropy(logits, labels),
          {},
          batches_of([samples](auto& random) {
            Tensors batch = classes(random, {samples, 32, 32, 3});
            batch.emplace_back(true);
            return batch;
          })};
}

BeyondModel resnet(gg::Graph& graph) {
  return image_classes(graph, 64, [&](const Residual& layers, gg::Output images) {
    auto x = gg::relu(layers.convolution(images, 16, 1, 3, "stem"));
    for (int i = 0; i < 9; ++i) {
      const auto scope = gg::scope(graph, "block" + std::to_string(i));
      x = layers.block(x, 16 << (i / 3), i == 3 || i == 6 ? 2 : 1);
    }
    return x;
  });
}

BeyondModel mobilenet(gg::Graph& graph) {
  return image_classes(graph, 32, [&](const Residual& layers, gg::Output images) {
    auto x = gg::relu6(layers.convolution(images, 16, 1, 3, "stem"));
    constexpr std::int64_t kFilters[] = {16, 24, 24, 32, 32, 64};
    for (int i = 0; i < 6; ++i) {
      const auto scope = gg::scope(graph, "block" + std::to_string(i));
      x = layers.inverted_block(x, kFilters[i], i == 1 || i == 3 ? 2 : 1);
    }
    return x;
  });
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

/// Two convolutions that keep the size.
gg::Output twice(gg::Output x, std::int64_t filters, const std::string& name) {
  const auto scope = gg::scope(x.graph(), name);
  const gg::nn::Conv2dOptions options = {
      .filters = filters, .activation = gg::relu, .padding = gg::Padding::same};
  return gg::nn::conv2d(gg::nn::conv2d(x, options, "first"), options, "second");
}

BeyondModel unet(gg::Graph& graph) {
  const auto images = placeholder(graph, "images", {64, 64, 3});
  const auto means = placeholder(graph, "means", {64, 64, 1});
  std::vector<gg::Output> skips;
  auto x = images;
  std::int64_t filters = 16;
  for (int level = 0; level < 3; ++level, filters *= 2) {
    skips.push_back(twice(x, filters, "down" + std::to_string(level)));
    x = gg::nn::max_pool2d(skips.back(), 2);
  }
  x = twice(x, filters, "bottom");
  for (int level = 2; level >= 0; --level) {
    filters /= 2;
    const std::string number = std::to_string(level);
    x = gg::nn::conv2d_transpose(x, {.filters = filters, .kernel = 2, .strides = 2},
                                 "larger" + number);
    x = twice(gg::concat({x, skips[static_cast<std::size_t>(level)]}, 3), filters, "up" + number);
  }
  const auto drawn = gg::nn::conv2d(x, {.filters = 1, .kernel = 1}, "drawn");
  return {{images, means}, gg::mean(gg::square(drawn - means)), {}, batches_of([](auto& random) {
            return images_and_means(random, {8, 64, 64, 3});
          })};
}

/// Convolutions along sentences: images one pixel wide. Source: Kim 2014.
BeyondModel text_cnn(gg::Graph& graph) {
  constexpr std::int64_t kVocabulary = 5000, kLength = 100;
  const auto words = placeholder(graph, "words", {kLength}, gg::int32);
  const auto labels = placeholder(graph, "labels", {}, gg::int64);
  const auto x = gg::expand_dims(gg::nn::embedding(words, kVocabulary, 64), 2);
  std::vector<gg::Output> seen;
  for (const std::int64_t size : {3, 4, 5})
    seen.push_back(
        gg::max(gg::nn::conv2d(x, {.filters = 100, .kernel = {size, 1}, .activation = gg::relu},
                               "conv" + std::to_string(size)),
                {1, 2}));
  const auto logits = gg::nn::dense(gg::concat(seen, 1), {.units = 2}, "logits");
  return {{words, labels}, mean_cross_entropy(logits, labels), {}, batches_of([](auto& random) {
            return words_and_halves(random, {64, kLength}, kVocabulary);
          })};
}

/// A product with a column for each of many words.
BeyondModel vocabulary(gg::Graph& graph) {
  constexpr std::int64_t kVocabulary = 10000;
  const auto words = placeholder(graph, "words", {}, gg::int32);
  const auto labels = placeholder(graph, "labels", {}, gg::int64);
  const auto x = gg::nn::embedding(words, kVocabulary, 128);
  const auto logits = gg::nn::dense(x, {.units = kVocabulary}, "logits");
  return {{words, labels}, mean_cross_entropy(logits, labels), {}, batches_of([](auto& random) {
            return words_and_halves(random, {256}, kVocabulary);
          })};
}

/// Large tables, few rows of which a batch reads, and what their rows have in common two by two.
/// Source: Naumov et al. 2019 (DLRM).
BeyondModel recommender(gg::Graph& graph) {
  constexpr std::int64_t kTables = 8, kRows = 10000, kWidth = 32, kNumbers = 13;
  const auto numbers = placeholder(graph, "numbers", {kNumbers});
  const auto rows = placeholder(graph, "rows", {kTables}, gg::int32);
  const auto clicks = placeholder(graph, "clicks", {});
  const auto layers = [](gg::Output x, const char* name, std::initializer_list<int> units) {
    const auto scope = gg::scope(x.graph(), name);
    for (const int count : units) x = gg::nn::dense(x, {.units = count, .activation = gg::relu});
    return x;
  };
  const auto bottom = layers(numbers, "bottom", {256, 128, kWidth});
  std::vector<gg::Output> parts = {bottom};
  for (const gg::Output& row : gg::unstack(rows, 1))
    parts.push_back(gg::nn::embedding(row, kRows, kWidth, gg::float32,
                                      "table" + std::to_string(parts.size() - 1)));
  const auto all = gg::stack(parts, 1);
  const auto products = gg::einsum("nid,njd->nij", {all, all});
  std::vector<std::int64_t> below;
  for (std::int64_t i = 0; i <= kTables; ++i)
    for (std::int64_t j = 0; j < i; ++j) below.push_back(i * (kTables + 1) + j);
  const auto pairs = gg::gather(
      gg::flatten(products),
      gg::constant(graph, gg::Tensor::from(below, {static_cast<std::int64_t>(below.size())})), 1);
  const auto top = layers(gg::concat({bottom, pairs}, 1), "top", {256, 128});
  const auto logits = gg::squeeze(gg::nn::dense(top, {.units = 1}, "logits"), 1);
  return {{numbers, rows, clicks},
          gg::mean(gg::sigmoid_cross_entropy(logits, clicks)),
          {},
          batches_of([](auto& random) {
            gg::Tensor values = classes(random, {512, kNumbers})[0],
                       ids(gg::int32, {512, kTables}), clicked(gg::float32, {512});
            for (auto& id : ids.template span<std::int32_t>())
              id = static_cast<std::int32_t>(random.below(kRows));
            for (auto& click : clicked.template span<float>())
              click = static_cast<float>(random.below(2));
            return Tensors{values, ids, clicked};
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
  const std::map<std::string_view, BeyondModel (*)(gg::Graph&)> models = {
      {"lstm", lstm},
      {"transformer", transformer<32, 32, 64>},
      {"long_transformer", transformer<1, 1024, 128>},
      {"vae", vae},
      {"resnet", resnet},
      {"mobilenet", mobilenet},
      {"mlp", mlp},
      {"unet", unet},
      {"text_cnn", text_cnn},
      {"vocabulary", vocabulary},
      {"recommender", recommender}};
  const auto found = models.find(name);
  if (found == models.end()) throw gg::BuildError("there is no model '" + name + "'");
  model = found->second(graph);
  model.fetches = {model.loss, gg::Adam{.learning_rate = 1e-3}.minimize(model.loss)};
  return model;
}

}  // namespace bench

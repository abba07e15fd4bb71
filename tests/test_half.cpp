#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gradgraph/gradgraph.h"

using namespace gradgraph;

namespace {

/// The value of the bits of a format, by its definition.
double value_of(std::uint32_t bits, int significand, int bias, int largest_exponent) {
  const double sign = bits & 0x8000u ? -1 : 1;
  const int exponent = static_cast<int>(bits & 0x7fffu) >> significand;
  const auto rest = static_cast<double>(bits & ((1u << significand) - 1));
  const double one = std::ldexp(1.0, significand);
  if (exponent == largest_exponent)
    return rest == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  return exponent == 0 ? sign * std::ldexp(rest / one, 1 - bias)
                       : sign * std::ldexp(1 + rest / one, exponent - bias);
}

/// Of all numbers of T the nearest one, ties to even bits, by looking.
template <class T>
class Nearest {
 public:
  explicit Nearest(double (*value)(std::uint32_t)) {
    for (std::uint32_t bits = 0; bits < 0x8000u && std::isfinite(value(bits)); ++bits)
      values_.push_back(value(bits));
    // Where infinity begins: as if there were one more number.
    values_.push_back(2 * values_.back() - values_[values_.size() - 2]);
  }
  std::uint16_t bits_of(double x) const {
    const double size = std::min(std::fabs(x), values_.back());
    auto above = static_cast<std::size_t>(std::lower_bound(values_.begin(), values_.end(), size) -
                                          values_.begin());
    if (above > 0) {
      const double up = values_[above] - size, down = size - values_[above - 1];
      if (down < up || (down == up && above % 2 == 1)) --above;
    }
    return static_cast<std::uint16_t>(above | (std::signbit(x) ? 0x8000u : 0u));
  }

 private:
  std::vector<double> values_;
};

double half_value(std::uint32_t bits) { return value_of(bits, 10, 15, 31); }
double bfloat16_value(std::uint32_t bits) { return value_of(bits, 7, 127, 255); }

template <class T>
void check_conversions(double (*value)(std::uint32_t)) {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits <= 0xffffu; ++bits) {
    const T x = T::from_bits(static_cast<std::uint16_t>(bits));
    const double expected = value(bits), actual = static_cast<float>(x);
    if (std::isnan(expected)) {
      wrong += !std::isnan(actual) || !std::isnan(static_cast<float>(T(actual)));
      continue;
    }
    wrong += actual != expected || std::signbit(actual) != std::signbit(expected);
    wrong += T(actual).bits() != bits || T(static_cast<float>(actual)).bits() != bits;
  }
  CHECK(wrong == 0);

  const Nearest<T> nearest(value);
  std::mt19937_64 random(7);
  for (int i = 0; i < 200'000; ++i) {
    // Of all sizes, and close to ties.
    const auto digits = static_cast<double>(random() >> 11);
    double x = std::ldexp(digits, static_cast<int>(random() % 60) - 80);
    if (i % 2 == 0) {
      const auto bits = static_cast<std::uint32_t>(random() % 0x7bffu);
      x = (value(bits) + value(bits + 1)) / 2;
      if (i % 4 == 0) x *= 1 + (i % 8 == 0 ? 0x1p-40 : -0x1p-40);
    }
    if (random() % 2 == 0) x = -x;
    wrong += T(x).bits() != nearest.bits_of(x);
    const auto single = static_cast<float>(x);
    wrong += T(single).bits() != nearest.bits_of(static_cast<double>(single));
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("half: conversions are exact, or round to the nearest, ties to even") {
  check_conversions<Half>(half_value);
  check_conversions<BFloat16>(bfloat16_value);
  CHECK(static_cast<float>(Half(65519.0)) == 65504);
  CHECK(std::isinf(static_cast<float>(Half(65520.0))));
  CHECK(std::isinf(static_cast<float>(BFloat16(1e300))));
}

TEST_CASE("half: tensors convert, print and compare") {
  const Tensor x = Tensor{1.0f, -0.1f, 70000.0f, 1e-8f}.cast(float16);
  CHECK(x.bytes() == 8);
  CHECK(x.to_string() == "float16[4] [1, -0.099975586, inf, 0]");
  CHECK(Tensor{1.0f, -0.1f}.cast(bfloat16).to_string() == "bfloat16[2] [1, -0.100097656]");
  CHECK(x.cast(int32).span<std::int32_t>()[2] == std::numeric_limits<std::int32_t>::max());
  CHECK(Tensor{Half(2.5f)}.dtype() == float16);
  CHECK(Tensor(BFloat16(2.5f)).item<BFloat16>().bits() == 0x4020);
  CHECK(Tensor::full(bfloat16, {2}, 3).span<BFloat16>()[1] == 3.0f);
}

TEST_CASE("half: sums are taken in float32 and rounded once") {
  for (const DType dtype : {float16, bfloat16}) {
    CAPTURE(dtype);
    Graph graph;
    const Output x = placeholder(graph, dtype, {any});
    const Output total = sum(x), product = matmul(reshape(x, {1, 4096}), reshape(x, {4096, 1}));
    CHECK(total.dtype() == dtype);
    Session session(graph);
    const Feeds feeds = {{x, Tensor::full(dtype, {4096}, 1)}};
    // Added one by one in the dtype itself, ones end at 2048 and 256.
    CHECK(session.run(feeds, total).cast(float64).item<double>() == 4096);
    CHECK(session.run(feeds, product).cast(float64).item<double>() == 4096);
  }
}

TEST_CASE("half: a model trains in it") {
  for (const DType dtype : {float16, bfloat16}) {
    CAPTURE(dtype);
    Graph graph;
    const Output x = placeholder(graph, dtype, {8, 4}), y = placeholder(graph, dtype, {8, 1});
    const Output w = variable(graph, Tensor::full(dtype, {4, 1}, 0.1), "w");
    const Output loss = mean(square(matmul(x, w) - y));
    const Output train = GradientDescent{.learning_rate = 0.1}.minimize(loss);
    Session session(graph);
    Tensor inputs(float32, {8, 4}), targets(float32, {8, 1});
    for (std::int64_t i = 0; i < 32; ++i)
      inputs.data<float>()[i] = static_cast<float>((i * 7) % 5 - 2) / 2;
    for (std::int64_t i = 0; i < 8; ++i)
      targets.data<float>()[i] = inputs.at<float>({i, 0}) - inputs.at<float>({i, 2}) / 2;
    const Feeds feeds = {{x, inputs.cast(dtype)}, {y, targets.cast(dtype)}};
    const double first = session.run(feeds, loss).cast(float64).item<double>();
    for (int step = 0; step < 100; ++step) session.run(feeds, std::vector{train});
    const double last = session.run(feeds, loss).cast(float64).item<double>();
    CHECK(first > 0.3);
    CHECK(last < 0.01);
  }
}

TEST_CASE("half: fused programs give the bits of single ops") {
  for (const DType dtype : {float16, bfloat16}) {
    CAPTURE(dtype);
    Graph graph;
    const Output x = placeholder(graph, dtype, {300}), b = placeholder(graph, dtype, {});
    const Output y = tanh(x * b + 0.3) / (abs(x) + 1) - leaky_relu(x, 0.1);
    Tensor values(float32, {300});
    for (std::int64_t i = 0; i < 300; ++i)
      values.data<float>()[i] = static_cast<float>(i - 150) / 37;
    const Feeds feeds = {{x, values.cast(dtype)}, {b, Tensor(1.7f).cast(dtype)}};
    Session fused(graph),
        plain(graph, {.disabled_passes = {"fuse_elementwise", "merge_elementwise"}});
    const Tensor one = fused.run(feeds, y), other = plain.run(feeds, y);
    CHECK(std::memcmp(one.raw(), other.raw(), one.bytes()) == 0);
  }
}

TEST_CASE("half: layers, losses and every optimiser take it") {
  for (const DType dtype : {float16, bfloat16}) {
    CAPTURE(dtype);
    Graph graph;
    const Output images = placeholder(graph, dtype, {any, 8, 8, 2}),
                 labels = placeholder(graph, int64, {any}),
                 training = placeholder(graph, boolean, {});
    Output x = nn::conv2d(images, {.filters = 4, .kernel = 3, .activation = relu});
    x = nn::batch_norm(x, {.training = training}).output;
    x = nn::max_pool2d(x);
    x = nn::dropout(nn::flatten(x), 0.1, training);
    x = nn::dense(x, {.units = 12, .activation = [](Output v) { return gelu(v); }});
    x = nn::layer_norm(x);
    const Output logits = nn::dense(x, {.units = 3});
    const Output loss = mean(sparse_softmax_cross_entropy(logits, labels));
    CHECK(loss.dtype() == dtype);
    std::vector<Output> trains = {
        GradientDescent{.learning_rate = 0.05, .momentum = 0.9}.minimize(loss),
        Adam{.learning_rate = 0.01, .clip = {.by_global_norm = 1}}.minimize(loss),
        AdamW{.learning_rate = 0.01}.minimize(loss),
        RmsProp{.learning_rate = 0.01}.minimize(loss),
        Adagrad{.learning_rate = 0.05}.minimize(loss)};

    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    Tensor pixels(float32, {12, 8, 8, 2}), classes(int64, {12});
    for (float& pixel : pixels.span<float>()) pixel = normal(random);
    for (std::int64_t i = 0; i < 12; ++i) {
      classes.data<std::int64_t>()[i] = i % 3;
      for (std::int64_t k = 0; k < 64; ++k)
        pixels.data<float>()[i * 128 + 2 * k] += static_cast<float>(i % 3) - 1;
    }
    const Feeds feeds = {
        {images, pixels.cast(dtype)}, {labels, classes}, {training, Tensor(true)}};
    for (std::size_t i = 0; i < trains.size(); ++i) {
      CAPTURE(i);
      Session session(graph, {.seed = 5});
      const auto loss_now = [&] { return session.run(feeds, loss).cast(float64).item<double>(); };
      const double first = loss_now();
      for (int step = 0; step < 40; ++step) session.run(feeds, std::vector{trains[i]});
      CHECK(loss_now() < 0.5 * first);
    }
  }
}

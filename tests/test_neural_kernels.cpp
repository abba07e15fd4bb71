#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernel_helpers.h"

/// Kernels of matrix products, convolution and pooling on shapes that are large enough for their
/// tiles and threads, against sums written out from the definition.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

/// Images and filters by index, in either layout.
struct Image {
  Tensor values;
  Layout layout;
  double& at(std::int64_t n, std::int64_t y, std::int64_t x, std::int64_t c) {
    const Shape& s = values.shape();
    return values.data<double>()[layout == Layout::nhwc ? ((n * s[1] + y) * s[2] + x) * s[3] + c
                                                        : ((n * s[1] + c) * s[2] + y) * s[3] + x];
  }
  std::int64_t height() const { return values.shape()[layout == Layout::nhwc ? 1 : 2]; }
  std::int64_t width() const { return values.shape()[layout == Layout::nhwc ? 2 : 3]; }
};

/// Calls body(x, w, y) with every triple of elements that a convolution multiplies and adds.
template <class Body>
void for_products(Image& x, Tensor& filter, Image& y, const Conv2dOptions& o, std::int64_t top,
                  std::int64_t left, const Body& body) {
  const Shape& f = filter.shape();
  const std::int64_t group_filters = f[3] / o.groups;
  double* w = filter.data<double>();
  for (std::int64_t n = 0; n < x.values.shape()[0]; ++n)
    for (std::int64_t oy = 0; oy < y.height(); ++oy)
      for (std::int64_t ox = 0; ox < y.width(); ++ox)
        for (std::int64_t i = 0; i < f[0]; ++i)
          for (std::int64_t j = 0; j < f[1]; ++j) {
            const std::int64_t iy = oy * o.strides.height + i * o.dilations.height - top;
            const std::int64_t ix = ox * o.strides.width + j * o.dilations.width - left;
            if (iy < 0 || iy >= x.height() || ix < 0 || ix >= x.width()) continue;
            for (std::int64_t c = 0; c < f[2]; ++c)
              for (std::int64_t k = 0; k < f[3]; ++k)
                body(x.at(n, iy, ix, k / group_filters * f[2] + c),
                     w[((i * f[1] + j) * f[2] + c) * f[3] + k], y.at(n, oy, ox, k));
          }
}

struct ConvCase {
  const char* name;
  Shape image, filter;
  Conv2dOptions options;
  std::int64_t top = 0, left = 0;
};

const ConvCase kConvCases[] = {
    {"mnist first layer", {11, 28, 28, 1}, {5, 5, 1, 24}, {}},
    {"mnist second layer", {5, 12, 12, 24}, {5, 5, 24, 48}, {}},
    {"an image in several tiles", {2, 60, 40, 6}, {3, 3, 6, 8}, {.padding = Padding::same}, 1, 1},
    {"an image in several tiles, nchw",
     {2, 6, 60, 40},
     {3, 3, 6, 8},
     {.padding = Padding::same, .layout = Layout::nchw},
     1,
     1},
    {"one image", {1, 50, 50, 8}, {5, 5, 8, 4}, {.strides = 2}},
    {"groups", {9, 20, 21, 12}, {3, 3, 4, 9}, {.strides = {1, 2}, .groups = 3}},
    {"depthwise", {9, 20, 21, 12}, {3, 3, 1, 24}, {.dilations = 2, .groups = 12}},
    {"depthwise, one filter each, same padding",
     {5, 19, 23, 20},
     {3, 3, 1, 20},
     {.padding = Padding::same, .groups = 20},
     1,
     1},
    {"depthwise, strides, a border and a wide window",
     {3, 18, 21, 40},
     {5, 4, 1, 40},
     {.strides = {2, 3}, .padding = Padding::explicit_, .border = {2, 1, 3, 0}, .groups = 40},
     2,
     3},
    {"depthwise, strides and dilations with and without a common factor",
     {3, 24, 25, 7},
     {4, 3, 1, 7},
     {.strides = {4, 3}, .dilations = {2, 2}, .groups = 7}},
    {"depthwise, strides beyond the window",
     {2, 17, 17, 33},
     {2, 1, 1, 33},
     {.strides = {3, 4}, .groups = 33}},
    {"one by one", {11, 17, 19, 24}, {1, 1, 24, 40}, {}},
};

}  // namespace

TEST_CASE("convolution kernels: large shapes, any number of threads") {
  for (const ConvCase& c : kConvCases) {
    CAPTURE(c.name);
    Graph graph;
    Image x{noise(c.image, 1), c.options.layout};
    Tensor filter = noise(c.filter, 2);
    const Output y = conv2d(constant(graph, x.values), constant(graph, filter), c.options);
    Image expected{Tensor::zeros(float64, y.shape()), c.options.layout};
    Image grad{noise(y.shape(), 3), c.options.layout};
    Image x_grad{Tensor::zeros(float64, c.image), c.options.layout};
    Tensor filter_grad = Tensor::zeros(float64, c.filter);
    for_products(x, filter, expected, c.options, c.top, c.left,
                 [](double u, double w, double& v) { v += u * w; });
    for_products(x_grad, filter, grad, c.options, c.top, c.left,
                 [](double& u, double w, double v) { u += w * v; });
    for_products(x, filter_grad, grad, c.options, c.top, c.left,
                 [](double u, double& w, double v) { w += u * v; });

    for (const DType dtype : {float64, float32}) {
      const double tolerance = dtype == float64 ? 1e-11 : 2e-4;
      const Output image = constant(graph, x.values.cast(dtype));
      const Output kernel = constant(graph, filter.cast(dtype));
      const Output flow = constant(graph, grad.values.cast(dtype));
      for (const int threads : {1, 2, 5}) {
        CAPTURE(threads);
        CHECK(close(compute(conv2d(image, kernel, c.options), threads), expected.values,
                    tolerance));
        CHECK(close(compute(conv2d_input_grad(c.image, kernel, flow, c.options), threads),
                    x_grad.values, tolerance));
        CHECK(close(compute(conv2d_filter_grad(image, c.filter, flow, c.options), threads),
                    filter_grad, tolerance));
      }
    }
  }
}

TEST_CASE("convolution kernels: the same bits in every run, with any number of threads") {
  for (const ConvCase& c : kConvCases) {
    CAPTURE(c.name);
    Graph graph;
    const Output x = constant(graph, noise(c.image, 1).cast(float32));
    const Output filter = constant(graph, noise(c.filter, 2).cast(float32));
    const Shape grad_shape = conv2d(x, filter, c.options).shape();
    const Output grad = constant(graph, noise(grad_shape, 3).cast(float32));
    for (const Output& output :
         {conv2d(x, filter, c.options), conv2d_input_grad(c.image, filter, grad, c.options),
          conv2d_filter_grad(x, c.filter, grad, c.options)}) {
      const Tensor first = compute(output, 1);
      for (const int threads : {1, 2, 3, 3, 16, 40})
        CHECK_MESSAGE(same_bits(compute(output, threads), first), threads << " threads");
    }
  }
}

namespace {

Tensor product(const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  using Index = std::initializer_list<std::int64_t>;
  const bool ta = options.transpose_a, tb = options.transpose_b;
  const std::int64_t m = a.shape()[ta ? 1 : 0], k = a.shape()[ta ? 0 : 1];
  const std::int64_t n = b.shape()[tb ? 0 : 1];
  Tensor c = Tensor::zeros(float64, {m, n});
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t l = 0; l < k; ++l)
      for (std::int64_t j = 0; j < n; ++j)
        c.data<double>()[i * n + j] += a.at<double>(ta ? Index{l, i} : Index{i, l}) *
                                       b.at<double>(tb ? Index{j, l} : Index{l, j});
  return c;
}

/// Checks products of [m,k] and [k,n] in all transpositions and dtypes.
void check_products(std::int64_t m, std::int64_t k, std::int64_t n,
                    std::initializer_list<int> threads) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      const MatmulOptions options = {.transpose_a = ta, .transpose_b = tb};
      Graph graph;
      const Tensor a = noise(ta ? Shape{k, m} : Shape{m, k}, 1);
      const Tensor b = noise(tb ? Shape{n, k} : Shape{k, n}, 2);
      const Tensor expected = product(a, b, options);
      for (const DType dtype : {float64, float32}) {
        const Output y =
            matmul(constant(graph, a.cast(dtype)), constant(graph, b.cast(dtype)), options);
        const Tensor first = compute(y, 1);
        const bool right = close(first, expected, dtype == float64 ? 1e-12 : 1e-5);
        CHECK_MESSAGE(right, m << " x " << k << " x " << n << ", " << ta << tb << dtype);
        for (const int count : threads) CHECK(same_bits(compute(y, count), first));
      }
    }
}

}  // namespace

TEST_CASE("matmul kernel: large shapes, any number of threads") {
  check_products(130, 67, 35, {1, 2, 5});
}

TEST_CASE("matmul kernel: small shapes") {
  for (const std::int64_t m : {1, 2, 7, 16, 17})
    for (const std::int64_t k : {1, 3, 16})
      for (const std::int64_t n : {1, 2, 8, 9, 10, 16, 23, 33}) check_products(m, k, n, {2});
}

TEST_CASE("matmul kernel: many batches, any number of threads") {
  Graph graph;
  const Tensor a = noise({6, 5, 33, 40}, 1), b = noise({5, 40, 20}, 2);
  const Output batched = matmul(constant(graph, a), constant(graph, b));
  const Tensor one = compute(batched, 1);
  for (const int threads : {2, 5, 40}) CHECK(same_bits(compute(batched, threads), one));
  // The same numbers, batch by batch.
  const auto part = [](const Tensor& tensor, std::int64_t i, const Shape& shape) {
    return Tensor::from(
        tensor.span<double>().subspan(static_cast<std::size_t>(i * shape.num_elements()),
                                      static_cast<std::size_t>(shape.num_elements())),
        shape);
  };
  for (std::int64_t i = 0; i < 30; ++i) {
    const Output single =
        matmul(constant(graph, part(a, i, {33, 40})), constant(graph, part(b, i % 5, {40, 20})));
    CHECK(close(compute(single, 1), part(one, i, {33, 20}), 1e-13));
  }
}

TEST_CASE("matmul kernel: integers wrap around") {
  Graph graph;
  const Output a = constant(graph, Tensor{{2147483647, 2147483647}});
  const Output b = constant(graph, Tensor{{2}, {3}});
  CHECK(compute(matmul(a, b), 1).item<std::int32_t>() == 2147483643);
}

TEST_CASE("pooling kernels: large shapes in both layouts, any number of threads") {
  const Pool2dOptions nhwc = {.window = {3, 2}, .strides = {2, 1}, .padding = Padding::same};
  Pool2dOptions nchw = nhwc;
  nchw.layout = Layout::nchw;
  Graph graph;
  const Tensor x = noise({7, 23, 31, 18}, 1), grad = noise({7, 12, 31, 18}, 2);
  const auto to_nchw = [&](const Tensor& tensor) {
    return Session(graph).run(transpose(constant(graph, tensor), {0, 3, 1, 2}));
  };
  const auto checks = [&](const Output& a, const Output& b) {
    const Tensor expected = to_nchw(compute(a, 1));
    for (const int threads : {1, 2, 5}) {
      CHECK(same_bits(to_nchw(compute(a, threads)), expected));
      CHECK(same_bits(compute(b, threads), expected));
    }
  };
  const Output image = constant(graph, x), flow = constant(graph, grad);
  const Output planes = constant(graph, to_nchw(x)), plane_flow = constant(graph, to_nchw(grad));
  checks(max_pool2d(image, nhwc), max_pool2d(planes, nchw));
  checks(max_pool2d_grad(image, flow, nhwc), max_pool2d_grad(planes, plane_flow, nchw));
  checks(max_pool2d_pick(image, image, nhwc), max_pool2d_pick(planes, planes, nchw));
  checks(avg_pool2d(image, nhwc), avg_pool2d(planes, nchw));
  checks(avg_pool2d_grad(image.shape(), flow, nhwc),
         avg_pool2d_grad(planes.shape(), plane_flow, nchw));
  // The maximum of x is what x has where its maximum is.
  CHECK(same_bits(compute(max_pool2d(image, nhwc), 2),
                  compute(max_pool2d_pick(image, image, nhwc), 2)));
}

TEST_CASE("softmax kernels: many rows and classes, any number of threads") {
  Graph graph;
  const Output logits = constant(graph, noise({300, 200}, 1));
  Tensor classes(int64, {300});
  for (std::int64_t i = 0; i < 300; ++i) classes.data<std::int64_t>()[i] = i * 7 % 200;
  const Output labels = constant(graph, classes);
  const Tensor logs = compute(log_softmax(logits), 1);
  for (const int threads : {1, 2, 5}) {
    const Tensor shares = compute(softmax(logits), threads);
    const Tensor losses = compute(sparse_softmax_cross_entropy(logits, labels), threads);
    double worst = 0;
    for (std::int64_t row = 0; row < 300; ++row) {
      double total = 0;
      for (std::int64_t i = 0; i < 200; ++i) {
        const double share = shares.at<double>({row, i});
        total += share;
        worst = std::max(worst, std::fabs(std::log(share) - logs.at<double>({row, i})));
      }
      worst =
          std::max({worst, std::fabs(total - 1),
                    std::fabs(losses.at<double>({row}) + logs.at<double>({row, row * 7 % 200}))});
    }
    CHECK(worst < 1e-12);
  }
}

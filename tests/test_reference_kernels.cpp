#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "noise.h"
#include "op_rows.h"

/// The reference kernels, xtensor expressions, and the faster ones beside them: the same values.
namespace gradgraph {
namespace {

using tests::noise;

/// Elements that differ by more than `tolerance` of the larger of 1 and their size, or of which
/// one is NaN alone.
std::int64_t differences(const Tensor& a, const Tensor& b, double tolerance) {
  REQUIRE(a.dtype() == b.dtype());
  REQUIRE(a.shape() == b.shape());
  const Tensor x = a.cast(float64), y = b.cast(float64);
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < x.num_elements(); ++i) {
    const double u = x.data<double>()[i], v = y.data<double>()[i];
    const bool same = u == v || (std::isnan(u) && std::isnan(v)) ||
                      std::fabs(u - v) <= tolerance * std::max(1.0, std::fabs(v));
    count += same ? 0 : 1;
  }
  return count;
}

double tolerance_of(DType dtype) { return dtype == float64 ? 1e-11 : 2e-5; }

/// A graph of some values, with their gradients of first and second order.
struct Case {
  Graph graph;
  Feeds feeds;

  Output feed(const Shape& shape, DType dtype) {
    const Output x = placeholder(graph, dtype, shape);
    Tensor value = noise(shape, static_cast<std::uint32_t>(feeds.size() + 1));
    if (!is_floating(dtype))
      for (double& element : value.span<double>()) element *= 100;
    feeds.emplace_back(x, value.cast(dtype));
    return x;
  }
  void check(const std::vector<Output>& fetches) {
    const std::vector<Tensor> fast = Session(graph, {.threads = 3}).run(feeds, fetches);
    const std::vector<Tensor> reference =
        Session(graph, {.threads = 3, .reference_kernels = true}).run(feeds, fetches);
    for (std::size_t i = 0; i < fetches.size(); ++i) {
      CAPTURE(fetches[i].name());
      CHECK(differences(reference[i], fast[i], tolerance_of(fast[i].dtype())) == 0);
    }
  }
  void check_with_gradients(std::vector<Output> fetches) {
    std::vector<Output> xs;
    for (const auto& [x, value] : feeds)
      if (is_floating(x.dtype())) xs.push_back(x);
    Output first, second;
    const auto add = [](Output& total, const Output& x) {
      total = total ? total + mean(square(x)) : mean(square(x));
    };
    for (const Output& value : fetches) add(first, value);
    for (const Output& grad : gradients({first}, xs)) {
      fetches.push_back(grad);
      add(second, grad);
    }
    for (const Output& grad : gradients({second}, xs)) fetches.push_back(grad);
    check(fetches);
  }
};

}  // namespace

TEST_CASE("reference kernels: every row of the table of ops") {
  for (const tests::OpRow& row : tests::op_rows())
    for (const DType dtype : {float32, float64}) {
      CAPTURE(row.name);
      CAPTURE(dtype);
      const std::vector<Tensor> fast = tests::row_values(row, dtype, {});
      const std::vector<Tensor> reference =
          tests::row_values(row, dtype, {.reference_kernels = true});
      for (std::size_t i = 0; i < fast.size(); ++i)
        CHECK(differences(reference[i], fast[i],
                          std::max(tolerance_of(fast[i].dtype()), row.tolerance)) == 0);
    }
}

// Longer than the tiles, runs and chunks of the loops.

TEST_CASE("reference kernels: reductions over all sets of axes") {
  for (const Shape& shape : {Shape{70000}, Shape{130, 257}, Shape{3, 5, 2, 7, 3, 2, 3, 5},
                             Shape{9, 1, 70, 33}, Shape{2, 40000}, Shape{1200, 3}})
    for (const DType dtype : {float32, float64, int32, int64, uint8}) {
      if (shape.rank() == 8 && dtype != float32) continue;
      CAPTURE(shape);
      CAPTURE(dtype);
      Case c;
      const Output x = c.feed(shape, dtype);
      std::vector<Output> fetches;
      for (std::uint32_t some = 1; some < 1u << shape.rank(); some += shape.rank() == 8 ? 7 : 1) {
        std::vector<std::int64_t> axes;
        for (int axis = 0; axis < shape.rank(); ++axis)
          if (some >> axis & 1u) axes.push_back(axis);
        for (const auto& reduce : {max, min})
          fetches.push_back(reduce(x, axes, false, SourceLocation::current()));
        if (dtype != uint8) fetches.push_back(sum(x, axes));
        if (is_floating(dtype)) fetches.push_back(mean(x, axes));
        if (dtype != uint8 && some == 1)
          fetches.push_back(prod(is_floating(dtype) ? 1 + x * 1e-3 : x, axes));
      }
      for (int axis = 0; axis < shape.rank(); ++axis)
        for (const Output& index : {argmax(x, axis), argmin(x, axis)}) fetches.push_back(index);
      c.check(fetches);
    }
}

TEST_CASE("reference kernels: sums along rows, of lengths that look alike to caches, too") {
  for (const std::int64_t length : {1000, 4096, 4104})
    for (const DType dtype : {uint8, float32, int64}) {
      CAPTURE(length);
      CAPTURE(dtype);
      Case c;
      const Output x = c.feed({29, length}, dtype);
      c.check({cumsum(x, 1), cumsum(x, 1, {.exclusive = true}), cumsum(x, 1, {.reverse = true}),
               cumsum(x, 1, {.exclusive = true, .reverse = true})});
    }
  Case c;
  const Output x = c.feed({29, 1024}, float64), y = c.feed({29, 1024}, float64);
  c.check_with_gradients({linear_recurrence(sigmoid(x), y, 1)});
}

TEST_CASE("reference kernels: movement of 1, 4 and 8 bytes") {
  for (const DType dtype : {uint8, float32, int64}) {
    CAPTURE(dtype);
    Case c;
    const Output x = c.feed({37, 5, 50}, dtype);
    const Output labels = c.feed({19}, int64);
    const Output at = maximum(minimum(labels, 4), 0);
    c.check({flip(x),
             flip(x, 1),
             strided_slice(x, {{.step = -3}, {1, 4, 2}, {40, 3, -2}}),
             strided_slice_grad({37, 5, 150}, x, {{}, {}, {.step = 3}}),
             cumsum(x, 0),
             cumsum(x, 1, {.exclusive = true}),
             cumsum(x, 2, {.reverse = true}),
             cumprod(x, 0),
             cumprod(x, 2, {.exclusive = true, .reverse = true}),
             transpose(x),
             transpose(x, {1, 0, 2}),
             transpose(x, {0, 2, 1}),
             concat({x, x}, 1),
             split(x, {2, 3}, 1)[1],
             slice(x, {3, 1, 7}, {30, 3, 40}),
             pad(x, {1, 2, 3}, {3, 0, 1}, 7),
             tile(x, {2, 3, 2}),
             broadcast_to(slice(x, {0, 0, 0}, {37, 1, 50}), {3, 37, 5, 50}),
             gather(x, at, 1),
             gather(x, at),
             scatter_add({37, 5, 5}, at, gather(x, at, 2), 2),
             one_hot(labels, 5, dtype)});
  }
}

TEST_CASE("reference kernels: softmax and its losses") {
  for (const DType dtype : {float32, float64})
    for (const Shape& shape : {Shape{130, 300}, Shape{7, 33, 10}, Shape{600, 1}}) {
      CAPTURE(shape);
      Case c;
      const Output x = c.feed(shape, dtype);
      const Output y = reshape(x, {-1, shape[shape.rank() - 1]});
      const Output labels = argmax(y * -1 + 1, -1);
      std::vector<Output> values = {sparse_softmax_cross_entropy(y * 3, labels),
                                    softmax_cross_entropy(y * 3, softmax(y * 2)),
                                    bias_add(y, reshape(slice(y, {0, 0}, {1, -1}), {-1}))};
      for (int axis = 0; axis < shape.rank(); ++axis)
        for (const Output& value : {softmax(x * 4, axis), log_softmax(x * 4, axis)})
          values.push_back(value);
      c.check_with_gradients(values);
    }
}

TEST_CASE("reference kernels: pools and convolutions") {
  struct Images {
    Shape image, filter;
    Conv2dOptions options = {};
  };
  for (const Images& i : {
           Images{{3, 12, 13, 1}, {5, 5, 1, 8}},
           Images{{2, 9, 10, 6}, {3, 3, 6, 8}, {.padding = Padding::same}},
           Images{{2, 6, 9, 8}, {3, 2, 6, 8}, {.padding = Padding::same, .layout = Layout::nchw}},
           Images{{2, 10, 11, 12}, {3, 3, 4, 9}, {.strides = {1, 2}, .groups = 3}},
           Images{{2, 10, 11, 12}, {3, 3, 1, 24}, {.dilations = 2, .groups = 12}},
           Images{{3, 7, 5, 24}, {1, 1, 24, 10}},
           Images{{2, 8, 7, 1},
                  {3, 2, 1, 5},
                  {.strides = 2, .padding = Padding::explicit_, .border = {2, 0, 1, 3}}},
       })
    for (const DType dtype : {float32, float64}) {
      CAPTURE(i.image);
      CAPTURE(dtype);
      Case c;
      const Output x = c.feed(i.image, dtype), filter = c.feed(i.filter, dtype);
      c.check_with_gradients({conv2d(x, filter, i.options)});
    }
  for (const Layout layout : {Layout::nhwc, Layout::nchw})
    for (const DType dtype : {float32, float64}) {
      CAPTURE(dtype);
      Case c;
      const Output x = c.feed({3, 10, 11, 7}, dtype);
      c.check_with_gradients(
          {max_pool2d(x, {.window = 3, .strides = 2, .layout = layout}),
           avg_pool2d(
               x, {.window = {2, 3}, .strides = 1, .padding = Padding::same, .layout = layout}),
           max_pool2d(x, {.window = 3,
                          .strides = 3,
                          .padding = Padding::explicit_,
                          .border = {1, 1, 2, 1},
                          .layout = layout})});
    }
}

}  // namespace gradgraph

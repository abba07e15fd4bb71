#include <doctest/doctest.h>

#include <barrier>
#include <cstring>
#include <set>
#include <thread>

#include "device/parallel.h"
#include "gradgraph/gradgraph.h"
#include "models.h"
#include "noise.h"
#include "op_rows.h"
#include "pass_drawing.h"

/// Results have the same bits for any number of threads: every row of the table of ops, sizes of
/// which rows have none, and training.
namespace gradgraph {
namespace {

using tests::noise;

constexpr int kThreads[] = {2, 3, 7};

bool same_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::ranges::equal(a, b, [](const Tensor& x, const Tensor& y) {
    return x.dtype() == y.dtype() && x.shape() == y.shape() &&
           std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
  });
}

/// The ways to run a graph: by the fastest kernels, and by the reference.
std::vector<SessionOptions> modes() { return {{}, {.reference_kernels = true}}; }

/// A graph with all that is fed.
struct Case {
  Graph graph;
  Feeds feeds;

  Output feed(const Shape& shape, DType dtype) {
    const auto seed = static_cast<std::uint32_t>(feeds.size() + 1);
    const Output x = placeholder(graph, dtype, shape);
    feeds.emplace_back(x, noise(shape, seed, dtype));
    return x;
  }
  /// Feeds `count` of the numbers [0, end), int64.
  Output feed_numbers(std::int64_t count, std::int64_t end) {
    Tensor numbers(int64, {count});
    for (std::int64_t i = 0; i < count; ++i)
      numbers.data<std::int64_t>()[i] = (i * 7919 + i / 3) % end;
    const Output x = placeholder(graph, int64, {count});
    feeds.emplace_back(x, numbers);
    return x;
  }
  void check(const std::vector<Output>& fetches, const std::vector<SessionOptions>& ways) {
    for (std::size_t way = 0; way < ways.size(); ++way) {
      SessionOptions options = ways[way];
      options.seed = 3;
      options.threads = 1;
      const std::vector<Tensor> expected = Session(graph, options).run(feeds, fetches);
      for (const int threads : kThreads) {
        options.threads = threads;
        CAPTURE(way);
        CAPTURE(threads);
        const std::vector<Tensor> actual = Session(graph, options).run(feeds, fetches);
        for (std::size_t i = 0; i < fetches.size(); ++i)
          CHECK_MESSAGE(same_bits({actual[i]}, {expected[i]}), fetches[i].name());
      }
    }
  }
  /// Some values and their gradients of first and second order by all that is fed as floats.
  void check_with_gradients(const std::vector<Output>& values,
                            const std::vector<SessionOptions>& ways = modes()) {
    std::vector<Output> xs, fetches = values, squares;
    for (const auto& [x, value] : feeds)
      if (is_floating(x.dtype())) xs.push_back(x);
    Output loss, second;
    const auto add = [](Output& total, const Output& x) {
      total = total ? total + sum(square(x)) : sum(square(x));
    };
    for (const Output& value : values) add(loss, value);
    for (const Output& grad : gradients({loss}, xs)) {
      fetches.push_back(grad);
      add(second, grad);
    }
    for (const Output& grad : gradients({second}, xs)) fetches.push_back(grad);
    check(fetches, ways);
  }
};

}  // namespace

TEST_CASE("thread counts: as many threads as were asked for, however few cores there are") {
  // Each waits in its part until all have one.
  std::thread::id ids[7];
  std::barrier all(7);
  parallel_parts(7, 7, [&](std::int64_t part, std::int64_t, std::int64_t) {
    ids[part] = std::this_thread::get_id();
    all.arrive_and_wait();
  });
  CHECK(std::set<std::thread::id>(std::begin(ids), std::end(ids)).size() == 7);
}

TEST_CASE("thread counts: every row of the table of ops") {
  for (const tests::OpRow& row : tests::op_rows())
    for (const DType dtype : {float32, float64}) {
      CAPTURE(row.name);
      CAPTURE(dtype);
      const std::vector<Tensor> expected = tests::row_values(row, dtype, {.threads = 1});
      for (const int threads : kThreads)
        CHECK_MESSAGE(same_bits(tests::row_values(row, dtype, {.threads = threads}), expected),
                      threads << " threads");
    }
}

TEST_CASE("thread counts: reductions of 65,536 and of a million elements along all axes") {
  const Shape shapes[] = {{65536},   {256, 256},  {16, 64, 64}, {4, 16384},  {4000, 17},
                          {1000003}, {1009, 991}, {8, 125001},  {47, 3, 473}};
  for (const Shape& shape : shapes)
    for (const DType dtype : {float32, float64}) {
      if (dtype == float64 && shape.num_elements() > 100000) continue;
      Case c;
      const Output x = c.feed(shape, dtype);
      std::vector<Output> fetches;
      for (std::uint32_t some = 1; some < 1u << shape.rank(); ++some) {
        std::vector<std::int64_t> axes;
        for (int axis = 0; axis < shape.rank(); ++axis)
          if (some >> axis & 1u) axes.push_back(axis);
        for (const Output& y : {sum(x, axes), mean(x * x + 0.25, axes)}) fetches.push_back(y);
        if (some == 1) fetches.push_back(prod(1 + x * 1e-3, axes));
      }
      CAPTURE(shape);
      c.check(fetches, {{}, {.disabled_passes = tests::all_passes_but({})}});
    }
}

TEST_CASE("thread counts: a sum that a fused node makes, beside its elements") {
  for (const Shape& shape : {Shape{65536}, Shape{600, 300}, Shape{9, 40000}, Shape{33, 5, 7, 60}})
    for (int axis = 0; axis < shape.rank(); ++axis) {
      Case c;
      const Output x = c.feed(shape, float32), y = square(x) * 0.5 + x;
      const Output total = sum(y, axis);
      c.check({y, total}, {{}});
      c.check({total}, {{}});
    }
}

TEST_CASE("thread counts: matrix products") {
  struct Sizes {
    std::int64_t rows, inner, columns;
  };
  for (const Sizes& s :
       {Sizes{130, 67, 35}, Sizes{201, 300, 153}, Sizes{1, 4000, 77}, Sizes{1500, 40, 10}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const DType dtype : {float32, float64}) {
          Case c;
          const Output a = c.feed(ta ? Shape{s.inner, s.rows} : Shape{s.rows, s.inner}, dtype);
          const Output b =
              c.feed(tb ? Shape{s.columns, s.inner} : Shape{s.inner, s.columns}, dtype);
          const Output y = matmul(a, b, {.transpose_a = ta, .transpose_b = tb});
          CAPTURE(dtype);
          CAPTURE(y.shape());
          c.check({y, relu(y * 0.5 + 1)}, modes());
          c.check({tanh(y)}, {{}});
        }
  for (const std::int64_t batch : {1, 3, 20})
    for (const DType dtype : {float32, float64}) {
      Case c;
      const Output a = c.feed({batch, 65, 80}, dtype), b = c.feed({batch, 80, 70}, dtype);
      CAPTURE(batch);
      c.check_with_gradients({matmul(a, b)});
    }
}

namespace {

struct ConvCase {
  Shape image, filter;
  Conv2dOptions options = {};
};

const ConvCase kConvolutions[] = {
    {{11, 28, 28, 1}, {5, 5, 1, 24}},
    {{5, 12, 12, 24}, {5, 5, 24, 48}},
    {{5, 24, 40, 6}, {3, 3, 6, 8}, {.padding = Padding::same}},
    {{5, 6, 24, 40}, {3, 3, 6, 8}, {.padding = Padding::same, .layout = Layout::nchw}},
    {{1, 50, 50, 8}, {5, 5, 8, 4}, {.strides = 2}},
    {{9, 20, 21, 12}, {3, 3, 4, 9}, {.strides = {1, 2}, .groups = 3}},
    {{9, 20, 21, 12}, {3, 3, 1, 24}, {.dilations = 2, .groups = 12}},
    {{17, 20, 9, 24}, {1, 1, 24, 40}},
    {{3, 7, 7, 160}, {3, 3, 160, 128}, {.padding = Padding::same}},
    {{2, 16, 14, 1}, {3, 2, 1, 5}, {.padding = Padding::explicit_, .border = {2, 0, 1, 3}}},
};

}  // namespace

TEST_CASE("thread counts: convolutions and their gradients") {
  for (const ConvCase& shapes : kConvolutions)
    for (const DType dtype : {float32, float64}) {
      Case c;
      const Output x = c.feed(shapes.image, dtype), filter = c.feed(shapes.filter, dtype);
      CAPTURE(shapes.image);
      CAPTURE(dtype);
      // The references are slow, and run on one thread.
      c.check_with_gradients({conv2d(x, filter, shapes.options)}, {{}});
    }
}

TEST_CASE("thread counts: convolutions with their pool") {
  for (const ConvCase& shapes : kConvolutions) {
    if (shapes.options.layout == Layout::nchw) continue;
    Case c;
    const Output x = c.feed(shapes.image, float32), filter = c.feed(shapes.filter, float32);
    const Output bias = c.feed({shapes.filter[3]}, float32);
    const Output y = max_pool2d(relu(bias_add(conv2d(x, filter, shapes.options), bias)));
    std::vector<Output> fetches = gradients({sum(square(y))}, {x, filter, bias});
    fetches.push_back(y);
    CAPTURE(shapes.image);
    c.check(fetches, modes());
  }
}

TEST_CASE("thread counts: softmax, normalisation, indices, pools and random numbers") {
  for (const DType dtype : {float32, float64}) {
    Case c;
    const Output x = c.feed({260, 300}, dtype);
    const Output labels = c.feed_numbers(260, 300);
    const Output centred = x - mean(x, -1, true);
    const Output normal = centred / sqrt(mean(square(centred), -1, true) + 1e-5);
    c.check_with_gradients({softmax(x), log_softmax(x), normal, softmax(x, 0),
                            sparse_softmax_cross_entropy(x, labels),
                            softmax_cross_entropy(x, softmax(x * 2)), gather(x, labels, 1)});
    Case pools;
    const Output image = pools.feed({11, 30, 31, 7}, dtype);
    pools.check_with_gradients(
        {max_pool2d(image, {.window = 3, .strides = 2}),
         avg_pool2d(image, {.window = {2, 3}, .strides = 1, .padding = Padding::same})});
    Case drawn;
    const Output y = drawn.feed({260, 300}, dtype);
    drawn.check(
        {random_uniform(drawn.graph, {70000}, dtype), random_normal(drawn.graph, {70000}, dtype),
         dropout(y, 0.3, constant(drawn.graph, Tensor(true)))},
        modes());
  }
}

TEST_CASE("thread counts: orders, running sums, slices and batches of matrices") {
  for (const DType dtype : {float32, float64}) {
    Case c;
    const Output x = c.feed({260, 300}, dtype);
    c.check_with_gradients({sort(x), sort(x, 0, true), top_k(x, 7).values, cumsum(x, 0),
                            cumsum(x, 1, {.reverse = true}), cumprod(x, 1), flip(x),
                            strided_slice(x, {{.step = -2}, {5, 200, 3}}), logsumexp(x, 1)});
    Case matrices;
    const Output a = matrices.feed({9, 20, 20}, dtype), b = matrices.feed({9, 20, 3}, dtype);
    Tensor unit = Tensor::zeros(float32, {20, 20});
    for (std::int64_t i = 0; i < 20; ++i) unit.data<float>()[21 * i] = 20;
    const Output regular = a + constant(matrices.graph, unit.cast(dtype));
    const Output symmetric = matmul(regular, regular, {.transpose_b = true});
    matrices.check_with_gradients({inverse(regular), solve(regular, b), logdet(regular).logarithm,
                                   cholesky(symmetric), qr(regular).r, eigh(symmetric).values,
                                   svd(regular).s});
  }
}

namespace {

/// The bytes of all variables, and the loss, after some steps.
std::vector<Tensor> trained(const std::string& name, int threads, std::int64_t batch, int steps) {
  Graph graph;
  const bench::Model model = bench::make_model(graph, name);
  Session session(graph, {.seed = 7, .threads = threads});
  Callable step = session.prepare(model.feeds, {model.loss, model.train});
  Tensor classes(int64, {batch});
  for (std::int64_t i = 0; i < batch; ++i) classes.data<std::int64_t>()[i] = i % 10;
  std::vector<Tensor> values;
  for (int i = 0; i < steps; ++i) {
    const Tensor images = noise({batch, 28, 28, 1}, static_cast<std::uint32_t>(i + 1), float32);
    values.push_back(step(images, classes, Tensor(true))[0].clone());
  }
  for (Node& node : graph.nodes())
    if (node.op().name == "variable") values.push_back(session.value(node.output()));
  return values;
}

}  // namespace

TEST_CASE("thread counts: training the example models") {
  struct Run {
    std::int64_t batch;
    int steps;
  };
  for (const char* name : {"mlp", "cnn"})
    for (const Run& run : {Run{5, 4}, Run{33, 2}, Run{128, 2}}) {
      const std::vector<Tensor> expected = trained(name, 1, run.batch, run.steps);
      for (const int threads : kThreads)
        CHECK_MESSAGE(same_bits(trained(name, threads, run.batch, run.steps), expected),
                      name << ", batch " << run.batch << ", " << threads << " threads");
    }
}

}  // namespace gradgraph

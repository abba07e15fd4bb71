#include "device/cpu/convolution/line_loops.h"
#include "kernel_helpers.h"

/// The convolution kernels of float32: sums of products against the definition, then whole
/// convolutions against the reference.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

std::vector<float> numbers(std::int64_t count, std::uint32_t seed) {
  const Tensor values = noise({count}, seed).cast(float32);
  return {values.data<float>(), values.data<float>() + count};
}

/// Checks one sum of products on every level of the instruction set.
void check_product_sum(std::int64_t rows, std::int64_t columns, bool along_rows, bool add) {
  const std::int64_t inner = 7, products = 3;
  // Rows of a that overlap where k runs along them.
  const std::int64_t a_row = along_rows ? 1 : 3, a_inner = along_rows ? rows + 2 : 1;
  const std::int64_t a_next = 50, b_inner = columns + 1, b_next = 8 * b_inner;
  const auto a = numbers(4 * a_next + 9 * a_inner + rows * a_row, 1);
  const auto b = numbers(4 * b_next, 2);
  // Overlapping rows of c where they are added.
  const std::int64_t c_row = add ? columns / 2 + 1 : columns;
  const auto before = numbers(rows * c_row + columns, 3);

  std::vector<double> expected(before.begin(), before.end());
  for (std::int64_t m = 0; m < rows; ++m)
    for (std::int64_t n = 0; n < columns; ++n) {
      double sum = 0;
      for (std::int64_t r = 0; r < products; ++r)
        for (std::int64_t k = 0; k < inner; ++k)
          sum += static_cast<double>(
                     a[static_cast<std::size_t>(r * a_next + m * a_row + k * a_inner)]) *
                 static_cast<double>(b[static_cast<std::size_t>(r * b_next + k * b_inner + n)]);
      double& c = expected[static_cast<std::size_t>(m * c_row + n)];
      c = add ? c + sum : sum;
    }
  for_each_isa([&] {
    auto c = before;
    best_line_loops().product_sum({.a = a.data(),
                                   .a_next = a_next,
                                   .a_row = a_row,
                                   .a_inner = a_inner,
                                   .b = b.data(),
                                   .b_next = b_next,
                                   .b_inner = b_inner,
                                   .c = c.data(),
                                   .c_row = c_row,
                                   .rows = rows,
                                   .columns = columns,
                                   .inner = inner,
                                   .products = products,
                                   .add = add});
    double worst = 0;
    for (std::size_t i = 0; i < c.size(); ++i)
      worst = std::max(worst, std::fabs(static_cast<double>(c[i]) - expected[i]));
    CHECK_MESSAGE(worst < 1e-5, rows << " x " << columns << " on level "
                                     << static_cast<int>(best_isa()) << (add ? ", added" : ""));
  });
}

/// The convolution and its gradients, against the reference and with any number of threads.
/// Returns the convolution.
Tensor check_convolution(const Shape& image, const Shape& filter, const Conv2dOptions& options,
                         double tolerance = 1e-5) {
  Graph graph;
  const Output x = constant(graph, noise(image, 1).cast(float32));
  const Output w = constant(graph, noise(filter, 2).cast(float32));
  const Output y = conv2d(x, w, options);
  const Output grad = constant(graph, noise(y.shape(), 3).cast(float32));
  for (const Output& output : {y, conv2d_input_grad(image, w, grad, options),
                               conv2d_filter_grad(x, filter, grad, options)}) {
    const Tensor expected = compute(output, 1, true);
    const Tensor result = compute(output, 1);
    CHECK_MESSAGE(close(result, expected, tolerance), output.name() << image << filter);
    for (const int threads : {1, 2, 7})
      CHECK_MESSAGE(same_bits(compute(output, threads), result),
                    output.name() << image << filter << threads);
  }
  return compute(y, 1);
}

}  // namespace

TEST_CASE("sums of products: all sizes around those of tiles, on every instruction set") {
  for (const std::int64_t rows : {1, 2, 3, 5, 8, 9, 12, 13, 25})
    for (const std::int64_t columns : {1, 3, 4, 8, 15, 16, 17, 24, 33, 48, 49, 65, 120})
      for (const bool along_rows : {false, true})
        for (const bool add : {false, true}) check_product_sum(rows, columns, along_rows, add);
}

TEST_CASE("convolution kernels: the fast ones give what the reference gives") {
  const Conv2dOptions cases[] = {
      {},
      {.padding = Padding::same},
      {.strides = 2, .padding = Padding::same},
      {.strides = {3, 2}},
      {.padding = Padding::explicit_, .border = {2, 0, 1, 3}},
      {.strides = {1, 4}, .padding = Padding::explicit_, .border = {4, 3, 0, 5}},
      {.padding = Padding::same, .dilations = {2, 1}},
      {.padding = Padding::same, .layout = Layout::nchw},
  };
  for (const Conv2dOptions& options : cases)
    for (const std::int64_t batch : {0, 1, 3})
      for (const std::int64_t channels : {1, 3, 16})
        for (const std::int64_t filters : {1, 5, 24})
          for (const Pair window : {Pair(1), Pair(3), Pair(2, 5)}) {
            const bool nhwc = options.layout == Layout::nhwc;
            const Shape image =
                nhwc ? Shape{batch, 9, 11, channels} : Shape{batch, channels, 9, 11};
            const Shape filter = {window.height, window.width, channels, filters};
            check_convolution(image, filter, options, 1e-5);
          }
}

TEST_CASE("convolution kernels: filters too large for the cache") {
  const Conv2dOptions cases[] = {
      {.padding = Padding::same},
      {.strides = 2, .padding = Padding::same},
      {.strides = {1, 4}, .padding = Padding::explicit_, .border = {0, 3, 2, 1}},
  };
  for (const Conv2dOptions& options : cases) {
    check_convolution({1, 5, 4, 90}, {3, 3, 90, 330}, options, 1e-4);
    check_convolution({2, 4, 3, 330}, {3, 3, 330, 90}, options, 1e-4);
  }
}

TEST_CASE("convolution kernels: products of patches, for many channels and filters") {
  for_each_isa([] {
    check_convolution({4, 6, 7, 128}, {3, 3, 128, 512}, {.padding = Padding::same}, 1e-4);
  });
  // Blocks of unlike sizes, of rows as of columns; a border on some sides; taps far apart.
  check_convolution({9, 7, 8, 80}, {2, 5, 80, 672},
                    {.strides = {1, 2}, .padding = Padding::explicit_, .border = {1, 0, 3, 1}},
                    1e-4);
  check_convolution({5, 12, 11, 80}, {2, 5, 80, 672},
                    {.padding = Padding::explicit_, .border = {0, 2, 1, 4}, .dilations = {3, 2}},
                    1e-4);
  // Several blocks of rows for each image; one image, whose gradient is made line by line.
  check_convolution({4, 14, 15, 128}, {3, 3, 128, 512}, {.padding = Padding::same}, 1e-4);
  check_convolution({1, 13, 11, 128}, {3, 3, 128, 512}, {.padding = Padding::same}, 1e-4);
}

TEST_CASE("convolution kernels: strides beyond any image") {
  for (const std::int64_t groups : {1, 8})
    check_convolution(
        {2, 3, 1, 8}, {3, 3, 8 / groups, 8},
        {.strides = {1, std::int64_t{1} << 40}, .padding = Padding::same, .groups = groups});
}

TEST_CASE("convolution kernels: windows of one pixel") {
  for (const std::int64_t channels : {7, 8, 24, 130})
    for (const std::int64_t filters : {8, 9, 40})
      for (const std::int64_t batch : {0, 1, 5})
        check_convolution({batch, 6, 11, channels}, {1, 1, channels, filters}, {});
  check_convolution({7, 9, 11, 256}, {1, 1, 256, 512}, {.strides = 2}, 1e-4);
  check_convolution({3, 9, 11, 136}, {1, 1, 136, 150}, {}, 1e-4);
  check_convolution({3, 9, 11, 16}, {1, 1, 16, 24},
                    {.padding = Padding::explicit_, .border = {1, 0, 0, 2}});
}

TEST_CASE("convolution kernels: groups and dilations") {
  const Border border = {2, 0, 1, 3};
  for (const std::int64_t groups : {1, 2, 4})
    for (const Pair dilations : {Pair(1), Pair(2), Pair(1, 3), Pair(4, 1)})
      for (const Pair strides : {Pair(1), Pair(2), Pair(1, 3)})
        for (const Padding padding : {Padding::valid, Padding::same, Padding::explicit_})
          check_convolution({3, 13, 11, 12}, {3, 2, 12 / groups, 20},
                            {.strides = strides,
                             .padding = padding,
                             .border = padding == Padding::explicit_ ? border : Border{},
                             .dilations = dilations,
                             .groups = groups});
  // One pixel wide, and taps that all lie in the border.
  check_convolution({2, 30, 1, 8}, {3, 1, 4, 6}, {.dilations = {5, 1}, .groups = 2});
  check_convolution({1, 3, 4, 4}, {3, 3, 4, 6}, {.padding = Padding::same, .dilations = 9});
  // Large, and yet in no blocks.
  check_convolution({1, 5, 6, 128}, {3, 3, 64, 520}, {.padding = Padding::same, .groups = 2},
                    1e-4);
}

TEST_CASE("convolution kernels: images one pixel wide are as those one pixel high") {
  for (const Padding padding : {Padding::valid, Padding::same})
    for (const std::int64_t stride : {1, 3}) {
      const Tensor tall = check_convolution({3, 40, 1, 8}, {5, 1, 8, 12},
                                            {.strides = {stride, 1}, .padding = padding});
      const Tensor wide = check_convolution({3, 1, 40, 8}, {1, 5, 8, 12},
                                            {.strides = {1, stride}, .padding = padding});
      CHECK(std::memcmp(tall.raw(), wide.raw(), wide.bytes()) == 0);
    }
  // A window that reaches into the border is none of them.
  check_convolution({3, 40, 1, 8}, {5, 3, 8, 12}, {.padding = Padding::same});
  check_convolution({3, 40, 1, 8}, {5, 1, 8, 12},
                    {.padding = Padding::explicit_, .border = {0, 0, 1, 0}});
  check_convolution({3, 40, 1, 8}, {5, 1, 8, 12},
                    {.strides = {1, 2}, .padding = Padding::explicit_, .border = {1, 0, 1, 0}});
}

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "noise.h"

/// Layers that make images larger, and a U-Net of them.
namespace gradgraph::tests {
namespace {

using nn::Conv2dTransposeOptions;

double at(const Tensor& x, std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  const Shape& s = x.shape();
  return x.data<double>()[((a * s[1] + b) * s[2] + c) * s[3] + d];
}

/// What conv2d_transpose of images [N,H,W,C] is by its definition: each pixel, times the kernel,
/// is added where the kernel lies; what lies outside is cut off.
Tensor by_definition(const Tensor& x, const Tensor& kernel, const Shape& result, Pair strides,
                     Pair dilations, std::int64_t top, std::int64_t left, std::int64_t groups) {
  Tensor y(float64, result);
  std::fill_n(y.data<double>(), result.num_elements(), 0.0);
  const Shape &s = x.shape(), &k = kernel.shape();
  const std::int64_t inputs = s[3] / groups, outputs = result[3] / groups;
  for (std::int64_t n = 0; n < s[0]; ++n)
    for (std::int64_t i = 0; i < s[1]; ++i)
      for (std::int64_t j = 0; j < s[2]; ++j)
        for (std::int64_t u = 0; u < k[0]; ++u)
          for (std::int64_t v = 0; v < k[1]; ++v) {
            const std::int64_t row = i * strides.height + u * dilations.height - top;
            const std::int64_t column = j * strides.width + v * dilations.width - left;
            if (row < 0 || row >= result[1] || column < 0 || column >= result[2]) continue;
            double* to =
                y.data<double>() + ((n * result[1] + row) * result[2] + column) * result[3];
            for (std::int64_t g = 0; g < groups; ++g)
              for (std::int64_t o = 0; o < outputs; ++o)
                for (std::int64_t c = 0; c < inputs; ++c)
                  to[g * outputs + o] +=
                      at(x, n, i, j, g * inputs + c) * at(kernel, u, v, o, g * inputs + c);
          }
  return y;
}

Output to_nchw(Output x) { return transpose(x, {0, 3, 1, 2}); }
Output to_nhwc(Output x) { return transpose(x, {0, 2, 3, 1}); }

/// Images [N,H,W,C] in either layout.
Output upsampled(const Output& x, const nn::Upsample2dOptions& options) {
  return options.layout == Layout::nhwc ? nn::upsample2d(x, options)
                                        : to_nhwc(nn::upsample2d(to_nchw(x), options));
}

void check_close(const Tensor& actual, const Tensor& expected) {
  REQUIRE(actual.shape() == expected.shape());
  const auto a = actual.span<double>(), b = expected.span<double>();
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::fabs(a[i] - b[i]) <= 1e-12);
}

}  // namespace

TEST_CASE("image layers: conv2d_transpose is as it is defined, in both layouts") {
  struct Case {
    const char* name;
    Conv2dTransposeOptions options;
    Shape result;  ///< of images [2,4,5,4], by torch.nn.ConvTranspose2d's formula
    std::int64_t top = 0, left = 0;
  };
  const std::vector<Case> cases = {
      {"plain", {.filters = 6}, {2, 6, 7, 6}},
      {"stride 2", {.filters = 3, .kernel = 2, .strides = 2}, {2, 8, 10, 3}},
      {"stride beyond the kernel", {.filters = 3, .kernel = 1, .strides = 2}, {2, 7, 9, 3}},
      {"sides apart",
       {.filters = 3, .kernel = {3, 2}, .strides = {2, 3}, .dilations = {1, 2}},
       {2, 9, 15, 3}},
      {"same",
       {.filters = 3, .kernel = 3, .strides = 2, .padding = Padding::same},
       {2, 8, 10, 3}},
      {"border and output_padding, as PyTorch's (3, stride 2, padding 1, output_padding 1)",
       {.filters = 3,
        .kernel = 3,
        .strides = 2,
        .padding = Padding::explicit_,
        .border = {1, 1, 1, 1},
        .output_padding = 1},
       {2, 8, 10, 3},
       1,
       1},
      {"groups", {.filters = 6, .kernel = 3, .strides = 2, .groups = 2}, {2, 9, 11, 6}},
      {"output_padding alone",
       {.filters = 3, .kernel = 2, .strides = 2, .output_padding = {1, 0}},
       {2, 9, 10, 3}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    for (const Layout layout : {Layout::nhwc, Layout::nchw})
      for (const bool batch_is_known : {true, false}) {
        Graph graph;
        const Tensor image = noise({2, 4, 5, 4}, 1);
        const Output x = placeholder(graph, float64, {batch_is_known ? 2 : any, 4, 5, 4});
        Conv2dTransposeOptions options = c.options;
        options.layout = layout;
        options.bias_initializer = nn::constant(0.5);
        const nn::Conv2dTranspose layer(options);
        const Output y = layout == Layout::nhwc ? layer(x) : to_nhwc(layer(to_nchw(x)));
        REQUIRE(layer.variables().size() == 2);
        Session session(graph);
        const Tensor result = session.run({{x, image}}, y);
        Tensor expected =
            by_definition(image, session.value(layer.variables()[0]), c.result, options.strides,
                          options.dilations, c.top, c.left, options.groups);
        for (double& value : expected.span<double>()) value += 0.5;
        check_close(result, expected);
      }
  }
}

TEST_CASE("image layers: upsample2d repeats pixels, and adds up what they are given back") {
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    Graph graph;
    const Output x = placeholder(graph, float64, {any, 2, 3, 2});
    const nn::Upsample2dOptions options = {.factor = {2, 3}, .layout = layout};
    const Output y = upsampled(x, options);
    CHECK(y.shape() == Shape{any, 4, 9, 2});
    const Tensor image = noise({2, 2, 3, 2}, 1), flow = noise({2, 4, 9, 2}, 2);
    Session session(graph);
    const auto results =
        session.run({{x, image}}, {y, gradients({sum(y * constant(graph, flow))}, {x})[0]});
    Tensor larger(float64, {2, 4, 9, 2}), sums = Tensor::full(float64, {2, 2, 3, 2}, 0);
    for (std::int64_t n = 0; n < 2; ++n)
      for (std::int64_t i = 0; i < 4; ++i)
        for (std::int64_t j = 0; j < 9; ++j)
          for (std::int64_t c = 0; c < 2; ++c) {
            larger.data<double>()[((n * 4 + i) * 9 + j) * 2 + c] = at(image, n, i / 2, j / 3, c);
            sums.data<double>()[((n * 2 + i / 2) * 3 + j / 3) * 2 + c] += at(flow, n, i, j, c);
          }
    check_close(results[0], larger);
    check_close(results[1], sums);
  }
}

TEST_CASE("image layers: upsample2d between pixels, and gradients go to both") {
  // Where an output's centre lies among those of `size` pixels: the first of two, and how far on.
  const auto between = [](std::int64_t i, std::int64_t times, std::int64_t size) {
    const double place =
        std::max(0., (static_cast<double>(i) + 0.5) / static_cast<double>(times) - 0.5);
    const auto low = static_cast<std::int64_t>(place);
    return std::tuple(low, std::min(low + 1, size - 1), place - static_cast<double>(low));
  };
  for (const Layout layout : {Layout::nhwc, Layout::nchw})
    for (const std::int64_t height : {std::int64_t{2}, any}) {
      Graph graph;
      const Output x = placeholder(graph, float64, {any, height, 3, 2});
      const nn::Upsample2dOptions options = {
          .factor = {2, 3}, .layout = layout, .interpolation = nn::Interpolation::bilinear};
      const Output y = upsampled(x, options);
      CHECK(y.shape().compatible_with({1, 4, 9, 2}));
      const Tensor image = noise({2, 2, 3, 2}, 1), flow = noise({2, 4, 9, 2}, 2);
      Session session(graph);
      const auto results =
          session.run({{x, image}}, {y, gradients({sum(y * constant(graph, flow))}, {x})[0]});
      Tensor larger(float64, {2, 4, 9, 2}), sums = Tensor::full(float64, {2, 2, 3, 2}, 0);
      for (std::int64_t n = 0; n < 2; ++n)
        for (std::int64_t i = 0; i < 4; ++i)
          for (std::int64_t j = 0; j < 9; ++j)
            for (std::int64_t c = 0; c < 2; ++c) {
              const auto [top, bottom, down] = between(i, 2, 2);
              const auto [left, right, along] = between(j, 3, 3);
              double value = 0;
              for (const auto& [row, column, share] :
                   {std::tuple(top, left, (1 - down) * (1 - along)),
                    std::tuple(top, right, (1 - down) * along),
                    std::tuple(bottom, left, down * (1 - along)),
                    std::tuple(bottom, right, down * along)}) {
                value += share * at(image, n, row, column, c);
                sums.data<double>()[((n * 2 + row) * 3 + column) * 2 + c] +=
                    share * at(flow, n, i, j, c);
              }
              larger.data<double>()[((n * 4 + i) * 9 + j) * 2 + c] = value;
            }
      check_close(results[0], larger);
      check_close(results[1], sums);
    }
  // PyTorch's own, in 16 bits as well.
  for (const DType dtype : {float32, bfloat16}) {
    Graph graph;
    const Output row = constant(graph, Tensor{1.F, 2.F}.reshaped({1, 1, 2, 1}).cast(dtype));
    const Output y =
        nn::upsample2d(row, {.factor = {1, 2}, .interpolation = nn::Interpolation::bilinear});
    check_close(Session(graph).run({}, y).cast(float64),
                Tensor{1., 1.25, 1.75, 2.}.reshaped({1, 1, 4, 1}));
  }
}

/// Sizes that are known when the graph is built change nothing but its shapes.
TEST_CASE("image layers: a U-Net of images of any size is the one of images of their size") {
  for (const Layout layout : {Layout::nhwc, Layout::nchw})
    for (const std::int64_t groups : {1, 2, 4}) {
      CAPTURE(groups);
      const bool is_nhwc = layout == Layout::nhwc;
      const auto losses = [&](std::int64_t height, std::int64_t width, bool is_known) {
        Graph graph;
        const auto image = [&](std::int64_t h, std::int64_t w) {
          return is_nhwc ? Shape{2, h, w, 3} : Shape{2, 3, h, w};
        };
        const Output x =
            placeholder(graph, float64, is_known ? image(height, width) : image(any, any), "x");
        const std::int64_t axis = is_nhwc ? -1 : 1;
        const auto block = [&](Output y, std::int64_t filters) {
          y = nn::conv2d(y, {.filters = filters, .padding = Padding::same, .layout = layout});
          return silu(nn::group_norm(y, {.groups = groups, .axis = axis}));
        };
        const Output fine = block(x, 4);
        Output y = block(nn::max_pool2d(fine, {.layout = layout}), 8);
        y = block(concat({nn::upsample2d(y, {.layout = layout}), fine}, is_nhwc ? 3 : 1), 4);
        const Output loss = mean(square(y - 0.5));
        const Output train = GradientDescent{.learning_rate = 0.1}.minimize(loss);
        Session session(graph, {.seed = 5});
        std::vector<double> result;
        for (int step = 0; step < 4; ++step)
          result.push_back(session.run({{x, noise(image(height, width), 1)}}, {loss, train})[0]
                               .item<double>());
        return result;
      };
      for (const auto& [height, width] : {std::pair{4, 6}, {8, 2}}) {
        const auto known = losses(height, width, true), unknown = losses(height, width, false);
        for (std::size_t i = 0; i < known.size(); ++i)
          CHECK(unknown[i] == doctest::Approx(known[i]).epsilon(1e-12));
        CHECK(known[3] < known[0]);
      }
    }
}

TEST_CASE("image layers: what they refuse") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 4, 4, 6}, "x"),
               endless = placeholder(graph, float32, {any, any, 4, 6}, "endless"),
               flat = placeholder(graph, float32, {any, 6}, "flat");
  const auto fails = [&](const char* message, const auto& function) {
    const int nodes = graph.num_nodes();
    const std::string text = message_of<BuildError>(function);
    CHECK_MESSAGE(contains(text, message), text);
    CHECK(contains(text, "test_image_layers.cpp:"));
    CHECK(graph.num_nodes() == nodes);
  };
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  fails("filters must be positive, not 0", [&] { nn::conv2d_transpose(x, {}); });
  fails("a batch of images", [&] { nn::conv2d_transpose(flat, {.filters = 2}); });
  fails("axis 1 of x", [&] { nn::conv2d_transpose(endless, {.filters = 2}); });
  fails("4 groups do not divide 6 channels",
        [&] { nn::conv2d_transpose(x, {.filters = 4, .groups = 4}); });
  fails("strides cannot be 0x1", [&] {
    nn::conv2d_transpose(x, {.filters = 2, .strides = {0, 1}});
  });
  fails("dilations cannot be -1x-1",
        [&] { nn::conv2d_transpose(x, {.filters = 2, .dilations = -1}); });
  fails("output_padding 1x1 is not less than the strides, 1x1",
        [&] { nn::conv2d_transpose(x, {.filters = 2, .output_padding = 1}); });
  fails("no room for output_padding", [&] {
    nn::conv2d_transpose(
        x, {.filters = 2, .strides = 2, .padding = Padding::same, .output_padding = 1});
  });
  fails("the border cannot be negative", [&] {
    nn::conv2d_transpose(x,
                         {.filters = 2, .padding = Padding::explicit_, .border = {-1, 0, 0, 0}});
  });
  fails("a border needs Padding::explicit_",
        [&] { nn::conv2d_transpose(x, {.filters = 2, .border = Border::all(1)}); });
  fails("nothing is left of the image: -2x6", [&] {
    nn::conv2d_transpose(x,
                         {.filters = 2, .padding = Padding::explicit_, .border = {4, 4, 0, 0}});
  });
  fails("", [&] { nn::conv2d_transpose(x, {.filters = 2, .strides = most}); });
  fails("the factor cannot be 0x0", [&] { nn::upsample2d(x, {.factor = 0}); });
  const Output colours = placeholder(graph, float32, {any, 4, 4, any}, "colours");
  fails("axis 3 of x", [&] { nn::upsample2d(colours); });
  const std::string once = message_of<BuildError>([&] { nn::upsample2d(colours); });
  CHECK(once.find("[upsample2d]") == once.rfind("[upsample2d]"));
  fails("a batch of images", [&] { nn::upsample2d(flat); });
  fails("", [&] { nn::upsample2d(x, {.factor = most}); });
}

TEST_CASE("image layers: a U-Net finds squares, the same in both layouts") {
  const auto train = [](Layout layout) {
    const auto convolve = [=](Output x, std::int64_t filters) {
      return nn::conv2d(
          x,
          {.filters = filters, .activation = relu, .padding = Padding::same, .layout = layout});
    };
    const int channels = layout == Layout::nhwc ? 3 : 1;
    Graph graph;
    const Output images = placeholder(graph, float32, {any, 16, 16, 1}, "images"),
                 masks = placeholder(graph, float32, {any, 16, 16, 1}, "masks");
    const Output x = layout == Layout::nhwc ? images : to_nchw(images);
    const Output first = convolve(x, 8);
    const Output second = convolve(nn::max_pool2d(first, {.layout = layout}), 16);
    const Output deep = convolve(nn::max_pool2d(second, {.layout = layout}), 16);
    const Output up =
        nn::conv2d_transpose(deep, {.filters = 16, .kernel = 2, .strides = 2, .layout = layout});
    const Output third = convolve(concat({up, second}, channels), 16);
    const Output wide = nn::upsample2d(third, {.layout = layout});
    const Output last = nn::conv2d(convolve(concat({wide, first}, channels), 8),
                                   {.filters = 1, .kernel = 1, .layout = layout});
    const Output logits = layout == Layout::nhwc ? last : to_nhwc(last);
    const Output loss = mean(sigmoid_cross_entropy(logits, masks));
    const Output step = Adam{.learning_rate = 0.01}.minimize(loss);

    // Squares of 5 by 5 in noise.
    Tensor x_values = noise({32, 16, 16, 1}, 1, float32),
           y_values = Tensor::full(float32, {32, 16, 16, 1}, 0);
    for (std::int64_t n = 0; n < 32; ++n)
      for (std::int64_t i = 0; i < 5; ++i)
        for (std::int64_t j = 0; j < 5; ++j) {
          const std::int64_t pixel = (n * 16 + n % 11 + i) * 16 + n * 7 % 11 + j;
          x_values.data<float>()[pixel] += 1;
          y_values.data<float>()[pixel] = 1;
        }
    Session session(graph, {.seed = 1});
    std::vector<float> losses;
    for (int i = 0; i < 60; ++i)
      losses.push_back(
          session.run({{images, x_values}, {masks, y_values}}, {loss, step})[0].item<float>());
    return losses;
  };
  const std::vector<float> nhwc = train(Layout::nhwc), nchw = train(Layout::nchw);
  CHECK(nhwc.front() > 0.5F);
  CHECK(nhwc.back() < 0.1F);
  CHECK(nchw.front() == doctest::Approx(nhwc.front()).epsilon(1e-5));
  CHECK(nchw.back() < 0.1F);
}

}  // namespace gradgraph::tests

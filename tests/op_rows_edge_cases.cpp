#include "row_helpers.h"

/// Cases that other frameworks met, and where. Most are gradients at single points, which
/// differences do not see: so rows give them as values.
namespace gradgraph::tests {
namespace {

/// The first output of `build`, and the gradients of its sum by all inputs of floats.
Build with_gradients(const Build& build) {
  return [build](In in) {
    const Output y = build(in)[0];
    Out outputs = {y}, xs;
    for (const Output& x : in)
      if (is_floating(x.dtype())) xs.push_back(x);
    for (const Output& grad : gradients({sum(y)}, xs)) outputs.push_back(grad);
    return outputs;
  };
}

void add_elementwise_cases(Rows& rows) {
  // pytorch#8940
  rows.push_back(values("pow/gradient_of_a_zeroth_power", {Tensor{0.f, 1.f}},
                        with_gradients([](In in) { return Out{pow(in[0], 0)}; }),
                        {Tensor{1.f, 1.f}, Tensor{0.f, 0.f}}));
  // pytorch#27134
  rows.push_back(values("pow/gradient_by_the_exponent", {Tensor{0.f, 2.f}, Tensor(1.f)},
                        [](In in) {
                          const Output y = pow(in[0], broadcast_to(in[1], {2}));
                          return Out{gradients({y}, {y.node().input(1)})[0]};
                        },
                        {Tensor{0.f, 1.3862944f}}));
  // mlx#628
  rows.push_back(values("pow/of_a_difference_that_is_zero", {Tensor(1.f), Tensor(1.f)},
                        [](In in) {
                          const Output y = pow(in[0] - in[1], in[1]);
                          return gradients({123 * y}, {in[0], in[1]});
                        },
                        {Tensor(123.f), Tensor(-123.f)}));
  // pytorch#2775
  rows.push_back(values("sqrt/gradient_at_zero", {Tensor{0.f, 4.f}}, with_gradients(of(sqrt)),
                        {Tensor{0.f, 2.f}, Tensor{kInf, 0.25f}}));
  // pytorch#7049
  rows.push_back(values("clip/gradient_at_the_bounds", {Tensor{-2.f, -1.f, 0.f, 1.f, 2.f}},
                        with_gradients([](In in) { return Out{clip(in[0], -1, 1)}; }),
                        {Tensor{-1.f, -1.f, 0.f, 1.f, 1.f}, Tensor{0.f, 1.f, 1.f, 1.f, 0.f}}));
  rows.push_back(values("maximum/of_one_with_itself", {Tensor{-1.f, 3.f}},
                        [](In in) {
                          const Output a = identity(in[0]), b = identity(in[0]);
                          Out outputs = gradients({maximum(a, b)}, {a, b});
                          outputs.push_back(gradients({maximum(in[0], in[0])}, {in[0]})[0]);
                          return outputs;
                        },
                        {Tensor{0.5f, 0.5f}, Tensor{0.5f, 0.5f}, Tensor{1.f, 1.f}}));
  // pytorch#2211: the logarithm of a sigmoid.
  rows.push_back(values("softplus/log_sigmoid", {Tensor{-300.f, 0.f, 300.f}},
                        with_gradients([](In in) { return Out{-softplus(-in[0])}; }),
                        {Tensor{-300.f, -0.69314718f, 0.f}, Tensor{1.f, 0.5f, 0.f}}));
  // ONNX Div
  rows.push_back(values("div/signs_of_integers", {ints({-3, 3, -3, 3}), ints({2, 2, -2, -2})},
                        of(div), {ints({-1, 1, 1, -1})}));
  // ONNX Round, Clip
  rows.push_back(values("round/halves_to_even", {Tensor{1.5f, 2.5f, -4.5f}},
                        [](In in) {
                          return Out{round(in[0]), clip(in[0], 2, 1)};
                        },
                        {Tensor{2.f, 2.f, -4.f}, Tensor{1.f, 1.f, 1.f}}));
}

void add_reduction_cases(Rows& rows) {
  const float third = 1.f / 3;
  // pytorch#43519
  rows.push_back(values("max/gradient_of_ties", {Tensor{1.f, 0.f, 1.f, 0.f, 1.f, 0.f}},
                        with_gradients([](In in) { return Out{max(in[0])}; }),
                        {Tensor(1.f), Tensor{third, 0.f, third, 0.f, third, 0.f}}));
  rows.back().also = {float64};
  rows.back().tolerance = 1e-7;
  // tinygrad#15828, mlx#4274
  rows.push_back(
      values("max/nan_is_the_largest", {Tensor{1.f, kNan}, Tensor{3.f, kNan, 1.f, 5.f}},
             [](In in) {
               return Out{max(in[0]), min(in[0]), argmax(in[1], 0), argmin(in[1], 0)};
             },
             {Tensor(kNan), Tensor(kNan), Tensor(std::int64_t{1}), Tensor(std::int64_t{1})}));
  // tinygrad#17404
  rows.push_back(values("prod/gradient_at_zeros", {Tensor{{0.f, 2.f, 3.f}, {0.f, 0.f, 5.f}}},
                        with_gradients([](In in) { return Out{prod(in[0], 1)}; }),
                        {Tensor{0.f, 0.f}, Tensor{{6.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}}));
  // pytorch#82644
  rows.push_back(values("prod/gradient_of_one_zero", {Tensor{0.f}},
                        with_gradients([](In in) { return Out{prod(in[0], 0)}; }),
                        {Tensor(0.f), Tensor{1.f}}));
  // tensorflow#119428
  rows.push_back(values("cumprod/gradient_at_zeros", {Tensor{2.f, 0.f, 0.f, 3.f}},
                        with_gradients([](In in) { return Out{cumprod(in[0], 0)}; }),
                        {Tensor{2.f, 0.f, 0.f, 0.f}, Tensor{1.f, 2.f, 0.f, 0.f}}));
  // pytorch#4320
  rows.push_back(values("stddev/gradient_of_a_constant", {Tensor{0.1f, 0.1f, 0.1f}},
                        with_gradients([](In in) { return Out{stddev(in[0])}; }),
                        {Tensor(0.f), Tensor{0.f, 0.f, 0.f}}));
  // pytorch#2775: the norm of zeros.
  rows.push_back(values("sum/norm_of_zeros", {Tensor{0.f, 0.f}},
                        [](In in) {
                          const Output norm = sqrt(sum(square(in[0])));
                          const Output clipped = clip_by_norm(in[0], 1);
                          return Out{norm, gradients({clipped}, {in[0]})[0]};
                        },
                        {Tensor(0.f), Tensor{1.f, 1.f}}));
  // ONNX: the largest of no elements is an error here, which test_reductions.cpp has.
  rows.push_back(values("sum/along_no_elements", {Tensor(float32, {2, 0, 4})},
                        [](In in) {
                          return Out{sum(in[0], 1), prod(in[0], 1)};
                        },
                        {Tensor::zeros(float32, {2, 4}), Tensor::full(float32, {2, 4}, 1)}));
}

void add_network_cases(Rows& rows) {
  // tensorflow#11756
  rows.push_back(
      values("softmax/gradient_of_an_excluded_class", {Tensor{{-kInf, 0.f, 0.f}}},
             [](In in) {
               const Output first = slice(softmax(in[0]), {0, 1}, {1, 1});
               const Output second = slice(log_softmax(in[0]), {0, 1}, {1, 1});
               return Out{gradients({first}, {in[0]})[0], gradients({second}, {in[0]})[0]};
             },
             {Tensor{{0.f, 0.25f, -0.25f}}, Tensor{{0.f, 0.5f, -0.5f}}}));
  const auto along = [](Shape shape) {
    return [shape](std::initializer_list<float> list) { return elements<float>(list, shape); };
  };
  // onnxruntime#28463
  rows.push_back(float32_values("rsqrt/layer_norm_of_large_numbers",
                                {Tensor{{40000.f, 40001.f, 40002.f, 40003.f}}},
                                [](In in) { return Out{nn::layer_norm(in[0])}; },
                                {Tensor{{-1.3416355f, -0.44721183f, 0.44721183f, 1.3416355f}}}));
  rows.back().unknown_dims = false;
  // webnn#935: without ceil mode, which is not there, no window is of padding alone.
  const Pool2dOptions bordered = {
      .window = 3, .strides = 3, .padding = Padding::explicit_, .border = {1, 1, 1, 1}};
  std::vector<float> pixels(25);
  for (std::size_t i = 0; i < 25; ++i) pixels[i] = static_cast<float>(i) - 30;
  rows.push_back(values("max_pool2d/border_of_5x5", {Tensor::from(pixels, Shape{1, 5, 5, 1})},
                        [=](In in) { return Out{max_pool2d(in[0], bordered)}; },
                        {along({1, 2, 2, 1})({-24.f, -21.f, -9.f, -6.f})}));
  // tensorflow#238
  rows.push_back(values("conv2d/batch_of_0",
                        {Tensor(float32, {0, 28, 28, 1}), Tensor::zeros(float32, {5, 5, 1, 32})},
                        [](In in) {
                          const Output y = conv2d(in[0], in[1], {.padding = Padding::same});
                          const Out grads = gradients({sum(y)}, in);
                          return Out{y, grads[0], grads[1]};
                        },
                        {Tensor(float32, {0, 28, 28, 32}), Tensor(float32, {0, 28, 28, 1}),
                         Tensor::zeros(float32, {5, 5, 1, 32})}));
  // burn#4806: three pixels are in no window.
  rows.push_back(
      values("conv2d/pixels_in_no_window",
             {Tensor::zeros(float32, {1, 1, 1603, 1}), along({1, 4, 1, 1})({1.f, 2.f, 3.f, 4.f})},
             [](In in) {
               const Output y = conv2d(in[0], in[1], {.strides = {1, 4}});
               const Output grad = gradients({sum(y)}, {in[0]})[0];
               return Out{shape_of(y), shape_of(grad), slice(reshape(grad, {1603}), {1596}, {7})};
             },
             {longs({1, 1, 400, 1}), longs({1, 1, 1603, 1}),
              Tensor{1.f, 2.f, 3.f, 4.f, 0.f, 0.f, 0.f}}));
  // pytorch#63314: the gradient of a transposed convolution.
  rows.push_back(values(
      "conv2d_input_grad/gradient_of_stride_2",
      {along({1, 1, 2, 1})({1.f, 1.f}), along({1, 1, 1, 1})({-0.7767f}),
       along({1, 1, 3, 1})({1.5f, 0.f, 0.7f})},
      [](In in) {
        const Output y = conv2d_input_grad({1, 1, 3, 1}, in[1], in[0], {.strides = {1, 2}});
        return gradients({sum(y * in[2])}, {in[0]});
      },
      {along({1, 1, 2, 1})({-1.16505f, -0.54369f})}));
  // pytorch#1631, tensorflow#2163
  rows.push_back(values("gather/gradients",
                        {Tensor{4.f, 5.f}, longs({0, 0}), Tensor{0.2f, 0.3f}, Tensor(int64, {0})},
                        [](In in) {
                          const Output twice = gather(in[0], in[1]), never = gather(in[0], in[3]);
                          return Out{gradients({sum(twice * in[2])}, {in[0]})[0],
                                     gradients({sum(never)}, {in[0]})[0]};
                        },
                        {Tensor{0.5f, 0.f}, Tensor{0.f, 0.f}}));
}

}  // namespace

void add_edge_case_rows(std::vector<OpRow>& rows) {
  add_elementwise_cases(rows);
  add_reduction_cases(rows);
  add_network_cases(rows);
}

}  // namespace gradgraph::tests

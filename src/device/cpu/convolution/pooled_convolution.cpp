#include "ops/nn/pooled_convolution.h"

#include <algorithm>

#include "device/cpu/kernels.h"

/// The reference of convolutions that are pooled right away: loops as the definition has them.
namespace gradgraph {
namespace {

struct Loops : PooledConvolution {
  using PooledConvolution::PooledConvolution;

  /// Calls body(output, n, y, x) for each window: the index of its first result, and where its
  /// first pixel is in the convolution's output.
  template <class Body>
  void for_windows(const Body& body) const {
    std::int64_t output = 0;
    for (std::int64_t n = 0; n < batch; ++n)
      for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x, output += filters)
          body(output, n, y * pool.height, x * pool.width);
  }

  /// Calls body(input, tap) for each element that output pixel (y, x) of image n sees: its index
  /// in the images, and that of its first filter.
  template <class Body>
  void for_inputs(std::int64_t n, std::int64_t y, std::int64_t x, const Body& body) const {
    const auto rows = windows.height.taps(y), columns = windows.width.taps(x);
    for (std::int64_t i = rows.begin; i < rows.end; ++i)
      for (std::int64_t j = columns.begin; j < columns.end; ++j)
        for (std::int64_t c = 0; c < channels; ++c)
          body(((n * windows.height.input + windows.height.at(y, i)) * windows.width.input +
                windows.width.at(x, j)) *
                       channels +
                   c,
               ((i * windows.width.window + j) * channels + c) * filters);
  }

  /// Calls body(gradient, filter, input, tap) for every product that takes part in a gradient.
  template <class Body>
  void for_products(const float* grad, const std::uint8_t* choice, const Body& body) const {
    for_windows([&](std::int64_t output, std::int64_t n, std::int64_t y, std::int64_t x) {
      for (std::int64_t f = 0; f < filters; ++f) {
        const int tap = choice[output + f];
        if (tap == kNoChoice) continue;
        for_inputs(n, y + tap / pool.width, x + tap % pool.width,
                   [&](std::int64_t input, std::int64_t weight) {
                     body(grad[output + f], input, weight + f);
                   });
      }
    });
  }
};

Kernel make_forward(const KernelSite& site) {
  const Loops loops(site.node().attributes(), site.input_shape(0), site.input_shape(1));
  return {[loops](const KernelArgs& args) {
    const float *image = args.input<float>(0), *filter = args.input<float>(1);
    const float* bias = args.input<float>(2);
    loops.for_windows([&](std::int64_t output, std::int64_t n, std::int64_t y, std::int64_t x) {
      for (std::int64_t f = 0; f < loops.filters; ++f) {
        float best = 0;
        std::int64_t place = 0;
        for (std::int64_t tap = 0; tap < loops.pool.height * loops.pool.width; ++tap) {
          float sum = 0;
          loops.for_inputs(n, y + tap / loops.pool.width, x + tap % loops.pool.width,
                           [&](std::int64_t input, std::int64_t weight) {
                             sum += image[input] * filter[weight + f];
                           });
          sum += bias[f];
          const float value = sum < 0 ? 0 : sum;
          // Ties go to the first, NaN wins.
          if (tap > 0 && (value <= best || best != best)) continue;
          best = value;
          place = tap;
        }
        args.output<float>(0)[output + f] = best;
        args.output<std::uint8_t>(1)[output + f] =
            best <= 0 ? kNoChoice : static_cast<std::uint8_t>(place);
      }
    });
  }};
}

Kernel make_input_grad(const KernelSite& site) {
  const Loops loops(site.node().attributes(), site.output_shape(), site.input_shape(1));
  return {[loops, size = site.output_shape().num_elements()](const KernelArgs& args) {
    const float* filter = args.input<float>(1);
    float* x_grad = args.output<float>();
    std::fill_n(x_grad, size, 0.f);
    loops.for_products(args.input<float>(2), args.input<std::uint8_t>(3),
                       [&](float grad, std::int64_t input, std::int64_t weight) {
                         x_grad[input] += grad * filter[weight];
                       });
  }};
}

Kernel make_filter_grad(const KernelSite& site) {
  const Loops loops(site.node().attributes(), site.input_shape(0), site.output_shape());
  return {[loops, size = site.output_shape().num_elements()](const KernelArgs& args) {
    const float *image = args.input<float>(0), *grads = args.input<float>(2);
    const auto* choice = args.input<std::uint8_t>(3);
    float *filter_grad = args.output<float>(0), *bias_grad = args.output<float>(1);
    std::fill_n(filter_grad, size, 0.f);
    std::fill_n(bias_grad, loops.filters, 0.f);
    loops.for_products(grads, choice, [&](float grad, std::int64_t input, std::int64_t weight) {
      filter_grad[weight] += grad * image[input];
    });
    for (std::int64_t i = 0; i < loops.pooled_shape().num_elements(); ++i)
      if (choice[i] != kNoChoice) bias_grad[i % loops.filters] += grads[i];
  }};
}

}  // namespace

void register_pooled_convolution_kernels(KernelRegistry& registry) {
  registry.add("conv2d_relu_pool", kCpu, {float32}, make_forward);
  registry.add("conv2d_relu_pool_input_grad", kCpu, {float32}, make_input_grad);
  registry.add("conv2d_relu_pool_filter_grad", kCpu, {float32}, make_filter_grad);
}

}  // namespace gradgraph

#include "device/cuda/convolution/depthwise.h"
#include "device/cuda/convolution/products.h"
#include "device/cuda/kernels.h"

/// Convolution and both gradients.
namespace gradgraph::cuda {
namespace {

/// Nothing where it has nothing to do, or is too large.
struct Given {
  std::optional<Convolution> conv;
  bool is_empty;

  Given(const KernelSite& site, const Shape& x, const Shape& filter) {
    const Attributes& attributes = site.node().attributes();
    const Layout layout = layout_attribute(attributes);
    const Windows windows = windows_of(attributes, x, {filter[0], filter[1]},
                                       pair_attribute(attributes, "dilations"));
    is_empty = Convolution::is_empty(windows, layout, x, filter);
    if (!is_empty && Convolution::fits(windows, layout, x, filter))
      conv.emplace(windows, layout, x, filter,
                   static_cast<int>(site.attribute<std::int64_t>("groups")));
  }
};

/// What is not written by any product is 0.
Kernel make_zeros(const KernelSite& site) {
  const std::size_t bytes = output_bytes(site);
  return {[bytes](const KernelArgs& args) {
    if (bytes > 0) stream_of(args).clear(args.outputs[0], bytes);
  }};
}

template <class T>
Kernel make_conv2d(const KernelSite& site) {
  const Given given(site, site.input_shape(0), site.input_shape(1));
  if (given.is_empty) return make_zeros(site);
  if (!given.conv) return {};
  if (is_depthwise(*given.conv)) return make_depthwise_conv2d<T>(site, *given.conv);
  Kernel kernel;
  with_widths<T>(*given.conv, [&]<int kChannels, int kFilters>() {
    with_tile<T, 8, kChannels, kFilters == 4>(
        given.conv->filters, given.conv->taps * given.conv->channels, site.may_round(),
        [&]<class Tile>() {
          kernel.run = [problem = Forward<T, kChannels, kFilters, PlainResults<T>>(
                            *given.conv, PlainResults<T>(*given.conv))](const KernelArgs& args) {
            auto own = problem;
            own.x = args.input<T>(0);
            own.filter = args.input<T>(1);
            own.results.y = args.output<T>();
            issue_gemm<Tile>(args, own);
          };
        });
  });
  return kernel;
}

template <class T>
Kernel make_input_grad(const KernelSite& site) {
  const Given given(site, site.output_shape(), site.input_shape(1));
  if (given.is_empty) return make_zeros(site);
  if (!given.conv) return {};
  if (is_depthwise(*given.conv)) return make_depthwise_input_grad<T>(site, *given.conv);
  Kernel kernel;
  with_widths<T>(*given.conv, [&]<int kChannels, int kFilters>() {
    using Grad = PlainGrad<T, kFilters>;
    with_tile<T, 8, kFilters, kFilters == 4>(
        given.conv->channels, given.conv->taps * given.conv->filters, site.may_round(),
        [&]<class Tile>() {
          kernel.run = [problem = InputGrad<T, kFilters, Grad>(*given.conv, Grad(*given.conv))](
                           const KernelArgs& args) {
            auto own = problem;
            own.filter = args.input<T>(1);
            own.grad.y = args.input<T>(2);
            own.x = args.output<T>();
            issue_gemm<Tile>(args, own);
          };
        });
  });
  return kernel;
}

template <class T>
Kernel make_filter_grad(const KernelSite& site) {
  const Given given(site, site.input_shape(0), site.output_shape());
  if (given.is_empty) return make_zeros(site);
  if (!given.conv) return {};
  if (is_depthwise(*given.conv)) return make_depthwise_filter_grad<T>(site, *given.conv);
  Kernel kernel;
  with_widths<T>(*given.conv, [&]<int kChannels, int kFilters>() {
    using Grad = PlainGrad<T, kFilters>;
    kernel = make_filter_grad_kernel<T, kChannels, kFilters>(
        *given.conv, Grad(*given.conv), false, site.may_round(),
        [](auto& problem, const KernelArgs& args) {
          problem.x = args.input<T>(0);
          problem.grad.y = args.input<T>(2);
        });
  });
  return kernel;
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add_faster("conv2d", kCuda, dtype, make_conv2d<T>);
  registry.add_faster("conv2d_input_grad", kCuda, dtype, make_input_grad<T>);
  registry.add_faster("conv2d_filter_grad", kCuda, dtype, make_filter_grad<T>);
}

}  // namespace

void register_convolution_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

void register_half_convolution_kernels(KernelRegistry& registry) {
  register_for<Half>(registry);
  register_for<BFloat16>(registry);
}

}  // namespace gradgraph::cuda

#include "ops/nn/pooled_convolution.h"

#include "device/cuda/convolution/products.h"
#include "device/cuda/kernels.h"

/// Convolutions that go through bias and relu into a pool of four elements, and their gradients.
namespace gradgraph::cuda {
namespace {

constexpr int kArea = 4;

/// How the pool's windows lie on the convolution's output: 2x2, 4x1 or 1x4.
struct Pool {
  int height, width, filters;  ///< of what comes out
  int down, across;            ///< the logarithms of a window's height and width

  explicit Pool(const PooledConvolution& conv)
      : height(static_cast<int>(conv.height)),
        width(static_cast<int>(conv.width)),
        filters(static_cast<int>(conv.filters)),
        down(static_cast<int>(std::bit_width(static_cast<unsigned>(conv.pool.height))) - 1),
        across(static_cast<int>(std::bit_width(static_cast<unsigned>(conv.pool.width))) - 1) {}
  static bool fits(const PooledConvolution& conv) {
    return conv.pool.height * conv.pool.width == kArea;
  }
  __device__ int place(int image, int row, int column) const {
    return ((image * height + row) * width + column) * filters;
  }
};

/// Rows are the windows' pixels, window by window.
template <class S>
struct PooledResults {
  Pool pool;
  Pixels windows;
  const S* bias = nullptr;
  S* pooled = nullptr;
  std::uint8_t* choice = nullptr;
  int rows;

  PooledResults(const Convolution& conv, const Pool& p)
      : pool(p), windows(p.height, p.width), rows(conv.images * p.height * p.width * kArea) {}
  __device__ Pixel pixel(int row) const {
    const Pixel window = windows(row / kArea);
    const int tap = row % kArea;
    return {window.image, (window.row << pool.down) + (tap >> pool.across),
            (window.column << pool.across) + (tap & ((1 << pool.across) - 1))};
  }
  /// Ties go to the first, NaN wins.
  __device__ void store(int row, int filter, const float (&sums)[4]) const {
    float best = 0;
    int place = 0;
    for (int tap = 0; tap < kArea; ++tap) {
      const float sum = sums[tap] + static_cast<float>(bias[filter]);
      const float value = sum < 0 ? 0 : sum;
      if (tap > 0 && (value <= best || best != best)) continue;
      best = value;
      place = tap;
    }
    const int to = row / kArea * pool.filters + filter;
    pooled[to] = static_cast<S>(best);
    choice[to] = best <= 0 ? kNoChoice : static_cast<std::uint8_t>(place);
  }
};

/// The gradient at the convolution's output: the pool's where a pixel was chosen.
template <class S, int kWidth>
struct PooledGrad {
  struct Piece {
    float values[kWidth];
    std::uint32_t choices;  ///< a byte for each
    std::uint32_t tap;
    __device__ void finish() {
      GRADGRAPH_UNROLL
      for (int i = 0; i < kWidth; ++i)
        if ((choices >> 8 * i & 255u) != tap) values[i] = 0;
    }
  };
  Pool pool;
  const S* pooled = nullptr;
  const std::uint8_t* choice = nullptr;
  int height, width;  ///< of the pixels that are in windows

  explicit PooledGrad(const Pool& p)
      : pool(p), height(p.height << p.down), width(p.width << p.across) {}
  __device__ void read(const Pixel& at, int filter, Piece& piece) const {
    if (at.row >= height || at.column >= width) return;
    const int from = pool.place(at.image, at.row >> pool.down, at.column >> pool.across) + filter;
    piece.tap = static_cast<std::uint32_t>(((at.row & ((1 << pool.down) - 1)) << pool.across) +
                                           (at.column & ((1 << pool.across) - 1)));
    if constexpr (kWidth == 4)
      piece.choices = *reinterpret_cast<const std::uint32_t*>(choice + from);
    else
      piece.choices = choice[from];
    load(pooled + from, piece.values);
  }
};

/// Nothing where it has nothing to do, is too large, or is pooled in another way.
struct Given {
  std::optional<Convolution> conv;
  std::optional<Pool> pool;

  Given(const KernelSite& site, const Shape& x, const Shape& filter) {
    const PooledConvolution pooled(site.node().attributes(), x, filter);
    if (!Pool::fits(pooled) || pooled.pooled_shape().num_elements() == 0 ||
        Convolution::is_empty(pooled.windows, Layout::nhwc, x, filter) ||
        !Convolution::fits(pooled.windows, Layout::nhwc, x, filter))
      return;
    conv.emplace(pooled.windows, Layout::nhwc, x, filter, 1);
    pool.emplace(pooled);
  }
};

template <class S>
Kernel make_forward(const KernelSite& site) {
  const Given given(site, site.input_shape(0), site.input_shape(1));
  if (!given.conv) return {};
  Kernel kernel;
  with_widths<S>(*given.conv, [&]<int kChannels, int kFilters>() {
    with_tile<S, 8, kChannels, kFilters == 4>(
        given.conv->filters, given.conv->taps * given.conv->channels, site.may_round(),
        [&]<class Tile>() {
          kernel.run = [problem = Forward<S, kChannels, kFilters, PooledResults<S>>(
                            *given.conv, PooledResults<S>(*given.conv, *given.pool))](
                           const KernelArgs& args) {
            auto own = problem;
            own.x = args.input<S>(0);
            own.filter = args.input<S>(1);
            own.results.bias = args.input<S>(2);
            own.results.pooled = args.output<S>(0);
            own.results.choice = args.output<std::uint8_t>(1);
            issue_gemm<Tile>(args, own);
          };
        });
  });
  return kernel;
}

template <class S, int kWidth>
void bind(PooledGrad<S, kWidth>& grad, const KernelArgs& args) {
  grad.pooled = args.input<S>(2);
  grad.choice = args.input<std::uint8_t>(3);
}

template <class S>
Kernel make_input_grad(const KernelSite& site) {
  const Given given(site, site.output_shape(), site.input_shape(1));
  if (!given.conv) return {};
  Kernel kernel;
  with_widths<S>(*given.conv, [&]<int kChannels, int kFilters>() {
    using Grad = PooledGrad<S, kFilters>;
    with_tile<S, 8, kFilters, kFilters == 4>(
        given.conv->channels, given.conv->taps * given.conv->filters, site.may_round(),
        [&]<class Tile>() {
          kernel.run = [problem = InputGrad<S, kFilters, Grad>(*given.conv, Grad(*given.pool))](
                           const KernelArgs& args) {
            auto own = problem;
            own.filter = args.input<S>(1);
            bind(own.grad, args);
            own.x = args.output<S>();
            issue_gemm<Tile>(args, own);
          };
        });
  });
  return kernel;
}

template <class S>
Kernel make_filter_grad(const KernelSite& site) {
  const Given given(site, site.input_shape(0), site.output_shape());
  if (!given.conv) return {};
  Kernel kernel;
  with_widths<S>(*given.conv, [&]<int kChannels, int kFilters>() {
    kernel = make_filter_grad_kernel<S, kChannels, kFilters>(
        *given.conv, PooledGrad<S, kFilters>(*given.pool), true, site.may_round(),
        [](auto& problem, const KernelArgs& args) {
          problem.x = args.input<S>(0);
          bind(problem.grad, args);
        });
  });
  return kernel;
}

template <class S>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<S>};
  registry.add_faster("conv2d_relu_pool", kCuda, dtype, make_forward<S>);
  registry.add_faster("conv2d_relu_pool_input_grad", kCuda, dtype, make_input_grad<S>);
  registry.add_faster("conv2d_relu_pool_filter_grad", kCuda, dtype, make_filter_grad<S>);
}

}  // namespace

void register_pooled_convolution_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<Half>(registry);
  register_for<BFloat16>(registry);
}

}  // namespace gradgraph::cuda

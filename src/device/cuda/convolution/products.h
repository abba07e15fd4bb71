#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "device/cuda/convolution/geometry.h"
#include "device/cuda/implicit_gemm.h"

/// Convolution and both gradients as products of matrices, whose rows and columns are pixels,
/// taps and filters. What comes out of a convolution, and what its gradients see of that, are
/// parameters, since it may have been pooled. Elements are stored as S and calculated in T.
namespace gradgraph::cuda {

/// y as it is.
template <class S, int kWidth>
struct PlainGrad {
  using Piece = cuda::Piece<Calculated<S>, kWidth>;
  const S* y;
  Steps steps;
  int height, width;

  explicit PlainGrad(const Convolution& conv)
      : y(nullptr), steps(conv.y_steps), height(conv.height.output), width(conv.width.output) {}
  /// The filters from `filter` on of a pixel that is not before the image; 0 behind it.
  __device__ void read(const Pixel& at, int filter, Piece& piece) const {
    if (at.row >= height || at.column >= width) return;
    load(y + (at.image * steps.image + at.row * steps.row + at.column * steps.column +
              filter * steps.channel),
         piece.values);
  }
};

template <class S>
struct PlainResults {
  S* y;
  Steps steps;
  Pixels pixels;
  int rows, filters;

  explicit PlainResults(const Convolution& conv)
      : y(nullptr),
        steps(conv.y_steps),
        pixels(conv.height.output, conv.width.output),
        rows(conv.outputs()),
        filters(conv.filters) {}
  __device__ Pixel pixel(int row) const { return pixels(row); }
  __device__ void store(int row, int filter, const Calculated<S> (&sums)[4]) const {
    for (int i = 0; i < 4 && row + i < rows; ++i) {
      const Pixel at = pixels(row + i);
      y[at.image * steps.image + at.row * steps.row + at.column * steps.column +
        filter * steps.channel] = static_cast<S>(sums[i]);
    }
  }
};

/// y[pixel, filter] = the sum over taps and channels of x * filter.
template <class S, int kChannels, int kFilters, class Results>
struct Forward {
  using T = Calculated<S>;
  static constexpr int kWidthA = kChannels, kWidthB = kFilters;
  using PieceA = Piece<T, kWidthA>;
  using PieceB = Piece<T, kWidthB>;
  static constexpr bool kDeepA = true, kDeepB = false;
  struct Shared {};
  Convolution conv;
  Results results;
  const S *x = nullptr, *filter = nullptr;
  int rows, columns, inner, groups, parts = 1, part_depth;

  Forward(const Convolution& c, const Results& r)
      : conv(c),
        results(r),
        rows(r.rows),
        columns(c.filters),
        inner(c.taps * c.channels),
        groups(c.groups),
        part_depth(inner) {}

  struct Row {
    int image, top, left;
  };
  __device__ Row row(int group, int row) const {
    if (row >= rows) return {0, kOutside, 0};
    const Pixel at = results.pixel(row);
    return {at.image * conv.x_steps.image + group * conv.channels * conv.x_steps.channel,
            at.row * conv.height.stride - conv.height.before,
            at.column * conv.width.stride - conv.width.before};
  }
  __device__ static bool is_stopped(Shared&) { return false; }
  __device__ int depth(int, int, Shared&) const { return inner; }
  __device__ void a(const Row& row, int k, const Shared&, PieceA& piece) const {
    const auto [tap, channel] = conv.by_channels(k);
    const auto [i, j] = conv.by_width(tap);
    const int at = row.top + i * conv.height.dilation,
              beside = row.left + j * conv.width.dilation;
    if (at < 0 || at >= conv.height.input || beside < 0 || beside >= conv.width.input) return;
    load(x + (row.image + at * conv.x_steps.row + beside * conv.x_steps.column +
              channel * conv.x_steps.channel),
         piece.values);
  }
  __device__ void b(int group, int k, int column, const Shared&, PieceB& piece) const {
    load(filter + ((k * groups + group) * columns + column), piece.values);
  }
  __device__ void store(int, int group, int row, int column, const T (&sums)[4], Shared&) const {
    results.store(row, group * columns + column, sums);
  }
};

/// How many taps can be listed.
inline constexpr int kMostTaps = 256;

/// x[pixel, channel] = the sum over taps and filters of y * filter. Rows are the same pixel of
/// all images, then the next pixel: so near a border a tile's rows all see few taps, and nothing
/// is multiplied for the others.
template <class S, int kFilters, class Grad>
struct InputGrad {
  using T = Calculated<S>;
  static constexpr int kWidthA = kFilters, kWidthB = kFilters;
  using PieceA = typename Grad::Piece;
  using PieceB = Piece<T, kWidthB>;
  static constexpr bool kDeepA = true, kDeepB = true;
  struct Shared {
    std::uint16_t taps[kMostTaps];
    bool is_seen[kMostTaps];
  };
  Convolution conv;
  Grad grad;
  FastDivisor by_images, by_input_width, by_down, by_across;
  const S* filter = nullptr;
  S* x = nullptr;
  int rows, columns, inner, groups, parts = 1, part_depth;

  InputGrad(const Convolution& c, const Grad& g)
      : conv(c),
        grad(g),
        by_images(c.images),
        by_input_width(c.width.input),
        by_down(c.height.stride),
        by_across(c.width.stride),
        rows(c.inputs()),
        columns(c.channels),
        inner(c.taps * c.filters),
        groups(c.groups),
        part_depth(inner) {}

  struct Row {
    int group, image, top, left;
  };
  __device__ Row row(int group, int row) const {
    if (row >= rows) return {group, 0, kOutside, 0};
    const Pixel at = input(row);
    return {group, at.image, at.row + conv.height.before, at.column + conv.width.before};
  }
  __device__ Pixel input(int row) const {
    const auto [pixel, image] = by_images(row);
    const auto [at, beside] = by_input_width(pixel);
    return {image, at, beside};
  }
  __device__ static bool is_stopped(Shared&) { return false; }
  /// Lists the taps that any of the rows sees.
  __device__ int depth(int first, int last, Shared& common) const {
    if (conv.taps > kMostTaps) return inner;
    const int thread = static_cast<int>(threadIdx.x);
    for (int tap = thread; tap < conv.taps; tap += static_cast<int>(blockDim.x))
      common.is_seen[tap] = sees(first, last, tap);
    __syncthreads();
    int count = 0;
    for (int tap = 0; tap < conv.taps; ++tap) {
      if (!common.is_seen[tap]) continue;
      if (thread == 0) common.taps[count] = static_cast<std::uint16_t>(tap);
      ++count;
    }
    __syncthreads();
    return count * conv.filters;
  }
  __device__ bool sees(int first, int last, int tap) const {
    const auto [i, j] = conv.by_width(tap);
    for (int pixel = by_images(first).quotient; pixel <= by_images(last).quotient; ++pixel) {
      const auto [at, beside] = by_input_width(pixel);
      Pixel seen;
      if (find(at + conv.height.before, beside + conv.width.before, i, j, seen) &&
          seen.row < conv.height.output && seen.column < conv.width.output)
        return true;
    }
    return false;
  }
  /// The output that sees an input at tap (i, j), if there is one; it may be behind the image.
  __device__ bool find(int top, int left, int i, int j, Pixel& seen) const {
    const int at = top - i * conv.height.dilation, beside = left - j * conv.width.dilation;
    if (at < 0 || beside < 0) return false;
    const auto [row, between_rows] = by_down(at);
    const auto [column, between_columns] = by_across(beside);
    seen.row = row;
    seen.column = column;
    return between_rows == 0 && between_columns == 0;
  }
  __device__ int tap_of(int number, const Shared& common) const {
    return conv.taps > kMostTaps ? number : common.taps[number];
  }
  __device__ void a(const Row& row, int k, const Shared& common, PieceA& piece) const {
    const auto [number, one] = conv.by_filters(k);
    const auto [i, j] = conv.by_width(tap_of(number, common));
    Pixel seen{row.image, 0, 0};
    if (find(row.top, row.left, i, j, seen))
      grad.read(seen, row.group * conv.filters + one, piece);
  }
  __device__ void b(int group, int k, int column, const Shared& common, PieceB& piece) const {
    const auto [number, one] = conv.by_filters(k);
    load(filter + (((tap_of(number, common) * columns + column) * groups + group) * conv.filters +
                   one),
         piece.values);
  }
  __device__ void store(int, int group, int row, int column, const T (&sums)[4], Shared&) const {
    for (int i = 0; i < 4 && row + i < rows; ++i) {
      const Pixel at = input(row + i);
      x[at.image * conv.x_steps.image + at.row * conv.x_steps.row +
        at.column * conv.x_steps.column + (group * columns + column) * conv.x_steps.channel] =
          static_cast<S>(sums[i]);
    }
  }
};

/// filter[tap and channel, filter] = the sum over pixels of x * y, in parts. With a bias there is
/// a row of ones below x, whose products are the bias' gradient.
template <class S, int kChannels, int kFilters, class Grad>
struct FilterGrad {
  using T = Calculated<S>;
  static constexpr int kWidthA = kChannels, kWidthB = kFilters;
  using PieceA = Piece<T, kWidthA>;
  /// Where channels are looked up in quads there are no registers to leave anything in.
  static constexpr bool kWaits = kChannels == 4;
  using PieceB = std::conditional_t<kWaits, Piece<T, kWidthB>, typename Grad::Piece>;
  static constexpr bool kDeepA = false, kDeepB = false;
  struct Shared {};
  Convolution conv;
  Grad grad;
  Pixels pixels;
  T* sums = nullptr;  ///< [part, group, row, column]
  const S* x = nullptr;
  int rows, columns, inner, groups, parts = 1, part_depth;
  int weights;  ///< rows without the bias'

  FilterGrad(const Convolution& c, const Grad& g, bool has_bias)
      : conv(c),
        grad(g),
        pixels(g.height, g.width),
        rows(c.taps * c.channels + (has_bias ? 1 : 0)),
        columns(c.filters),
        inner(c.images * g.height * g.width),
        groups(c.groups),
        part_depth(inner),
        weights(c.taps * c.channels) {}

  /// Enough parts for a GPU, each with a few slices at least. Returns the bytes of the parts.
  template <class Tile>
  std::size_t cut() {
    const std::int64_t tiles = static_cast<std::int64_t>(tiles_of<Tile>(rows, columns)) * groups;
    const int slices = (inner + Tile::kDepth - 1) / Tile::kDepth;
    const auto most = static_cast<int>(std::clamp<std::int64_t>(kGoodBlocks / tiles, 1, 256));
    const int each = std::max((slices + most - 1) / most, std::min(slices, 4));
    parts = (slices + each - 1) / each;
    part_depth = each * Tile::kDepth;
    return static_cast<std::size_t>(parts) * static_cast<std::size_t>(elements()) * sizeof(T);
  }
  std::int64_t elements() const { return static_cast<std::int64_t>(groups) * rows * columns; }

  struct Row {
    int top, left, channel;
    bool is_one;
  };
  __device__ Row row(int group, int row) const {
    if (row >= weights) return {kOutside, 0, 0, row < rows};
    const auto [tap, channel] = conv.by_channels(row);
    const auto [i, j] = conv.by_width(tap);
    return {i * conv.height.dilation - conv.height.before,
            j * conv.width.dilation - conv.width.before,
            (group * conv.channels + channel) * conv.x_steps.channel, false};
  }
  __device__ static bool is_stopped(Shared&) { return false; }
  __device__ int depth(int, int, Shared&) const { return inner; }
  __device__ void a(const Row& row, int k, const Shared&, PieceA& piece) const {
    if (row.is_one) piece.values[0] = 1;
    const Pixel seen = pixels(k);
    const int at = seen.row * conv.height.stride + row.top;
    const int beside = seen.column * conv.width.stride + row.left;
    if (at < 0 || at >= conv.height.input || beside < 0 || beside >= conv.width.input) return;
    load(x + (seen.image * conv.x_steps.image + at * conv.x_steps.row +
              beside * conv.x_steps.column + row.channel),
         piece.values);
  }
  __device__ void b(int group, int k, int column, const Shared&, PieceB& piece) const {
    const int filter = group * columns + column;
    if constexpr (kWaits) {
      typename Grad::Piece seen{};
      grad.read(pixels(k), filter, seen);
      seen.finish();
      for (int i = 0; i < kWidthB; ++i) piece.values[i] = seen.values[i];
    } else {
      grad.read(pixels(k), filter, piece);
    }
  }
  __device__ void store(int part, int group, int row, int column, const T (&values)[4],
                        Shared&) const {
    for (int i = 0; i < 4 && row + i < rows; ++i)
      sums[((static_cast<std::int64_t>(part) * groups + group) * rows + row + i) * columns +
           column] = values[i];
  }
};

/// Lanes that share the parts of an element, with some parts for each.
constexpr int kPartLanes = 16;
inline int part_lanes(int parts) {
  int lanes = 1;
  while (lanes < kPartLanes && lanes * 8 < parts) lanes *= 2;
  return lanes;
}

/// The parts' sums, from [part, group, row, column] to [row, group, column]; the bias' row goes
/// to where that is. A block has 32 elements, and for each some lanes that share the parts.
template <class T, class S>
__global__ void __launch_bounds__(kWarp* kPartLanes)
    add_parts(const T* sums, S* filter, T* bias, int parts, int groups, int rows, int columns,
              int weights) {
  __shared__ T shared[kPartLanes][kWarp];
  const std::int64_t count = static_cast<std::int64_t>(groups) * rows * columns;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int own = static_cast<int>(threadIdx.x) / kWarp;
  const int lanes = static_cast<int>(blockDim.x) / kWarp;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kWarp; first < count;
       first += static_cast<std::int64_t>(gridDim.x) * kWarp) {
    const std::int64_t i = first + lane;
    const auto at = [&](int part) { return sums[part * count + i]; };
    T total = 0;
    if (i < count) {
      int part = own;
      for (; part + 3 * lanes < parts; part += 4 * lanes) {
        const T four[] = {at(part), at(part + lanes), at(part + 2 * lanes), at(part + 3 * lanes)};
        total += (four[0] + four[1]) + (four[2] + four[3]);
      }
      for (; part < parts; part += lanes) total += at(part);
    }
    shared[own][lane] = total;
    for (int width = lanes / 2; width > 0; width /= 2) {
      __syncthreads();
      if (own < width) shared[own][lane] += shared[own + width][lane];
    }
    if (own == 0 && i < count) {
      const std::int64_t row = i / columns % rows, group = i / columns / rows;
      if (row < weights)
        filter[(row * groups + group) * columns + i % columns] = static_cast<S>(shared[0][lane]);
      else
        bias[i % columns] = shared[0][lane];
    }
    __syncthreads();
  }
}

template <class Tile, class Problem, class S, class T>
void issue_filter_grad(const KernelArgs& args, const Problem& problem, S* filter, T* bias) {
  issue_gemm<Tile>(args, problem);
  issue(args, add_parts<T, S>, blocks_for(problem.elements(), kWarp),
        static_cast<unsigned>(kWarp * part_lanes(problem.parts)), 0,
        static_cast<const T*>(problem.sums), filter, bias, problem.parts, problem.groups,
        problem.rows, problem.columns, problem.weights);
}

/// A kernel for a gradient by the filter. `bind(problem, args)` says where x and y are.
template <class S, int kChannels, int kFilters, class Grad, class Bind>
Kernel make_filter_grad_kernel(const Convolution& conv, const Grad& grad, bool has_bias,
                               bool may_round, const Bind& bind) {
  Kernel kernel;
  using T = Calculated<S>;
  FilterGrad<S, kChannels, kFilters, Grad> problem(conv, grad, has_bias);
  const auto make = [&]<class Tile>() {
    kernel.workspace_bytes = problem.template cut<Tile>();
    kernel.run = [=](const KernelArgs& args) {
      auto own = problem;
      bind(own, args);
      own.sums = static_cast<T*>(args.workspace);
      issue_filter_grad<Tile>(args, own, args.output<S>(),
                              has_bias ? args.output<T>(1) : nullptr);
    };
  };
  // Few taps of few channels need few rows.
  if (kChannels == 1 && problem.rows <= 32)
    with_tile<S, 4, kChannels, kFilters == 4>(conv.filters, problem.inner, may_round, make);
  else
    with_tile<S, 8, kChannels, kFilters == 4>(conv.filters, problem.inner, may_round, make);
  return kernel;
}

/// Calls body.operator()<channels, filters>() with how many of these a kernel looks up at once;
/// not for single filters of 16 bits.
template <class S, class Body>
void with_widths(const Convolution& conv, const Body& body) {
  if constexpr (sizeof(S) <= 4)
    if (conv.has_quads_of_filters)
      return conv.has_quads_of_channels ? body.template operator()<4, 4>()
                                        : body.template operator()<1, 4>();
  if constexpr (sizeof(S) > 2) body.template operator()<1, 1>();
}

}  // namespace gradgraph::cuda

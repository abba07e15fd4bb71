#include <algorithm>
#include <type_traits>
#include <vector>

#include "device/cuda/best.h"
#include "device/cuda/block_reduce.h"
#include "device/cuda/general/axes.h"
#include "device/cuda/issue.h"
#include "device/cuda/kernels.h"
#include "device/shared/elements.h"
#include "device/shared/scalar_functors.h"

/// Sums and their like, in a tree that depends on the shape alone, so that a result has the same
/// bits in every run. float32 products are taken in float64, since their error grows with their
/// length whatever the order.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

constexpr int kThreads = 128, kColumnThreads = 512;
/// Elements that a block combines at most for one result, and that a thread does.
constexpr int64_t kBlockPart = 32 * kThreads, kThreadPart = 16;
/// Results that a block of columns makes: as few as memory gives at once, where that makes enough
/// of all in one launch; else all where they are few, or what lies together.
constexpr int64_t kLeastColumns = 8, kFewColumns = 64, kColumns = kWarp;
constexpr int64_t kShortColumn = kColumnThreads / kLeastColumns * 2 * kThreadPart;
constexpr int64_t kMostNarrow = 1024 * kLeastColumns;

template <class R, class T>
using Accumulator =
    std::conditional_t<std::is_same_v<R, functors::Prod> && std::is_same_v<T, float>, double, T>;

enum class Manner { by_threads, by_blocks, by_columns };

/// The elements of one result are dealt out to `parts` of `length`, each of which makes one of
/// partial results [part, result]; a single one makes the result.
struct Cut {
  ReducedLayout layout;
  Manner manner;
  int64_t length, parts;
  int width;  ///< results of a block of columns

  explicit Cut(const ReducedLayout& given) : layout(given) {
    const int64_t each = layout.reduced.count, results = layout.kept.count;
    // Elements in several axes are looked up one after the other.
    const int64_t most = layout.reduced.rank > 1 ? kShortColumn / 2 : kShortColumn;
    const bool is_narrow = each <= most && results <= kMostNarrow;
    width = static_cast<int>(is_narrow                ? std::min(results, kLeastColumns)
                             : results <= kFewColumns ? results
                                                      : kColumns);
    manner = each <= (layout.inner_reduced ? kWarp : kThreadPart) ? Manner::by_threads
             : layout.inner_reduced                               ? Manner::by_blocks
                                                                  : Manner::by_columns;
    length = manner == Manner::by_blocks                  ? kBlockPart
             : manner == Manner::by_columns && !is_narrow ? kColumnThreads / width * kThreadPart
                                                          : each;
    parts = (each + length - 1) / length;
  }
  int64_t partials() const { return layout.kept.count * parts; }
};

/// What a thread makes of every `step`th of a result's elements from `i` on, of which there is
/// one; loads do not wait for each other.
template <class Combine, class A, class T>
__device__ A combine_every(const T* own, const Axes& axes, int64_t i, int64_t step, int64_t end) {
  if (axes.rank > 1) {
    A value = static_cast<A>(own[axes.offset(i)]);
    GRADGRAPH_NO_UNROLL
    for (i += step; i < end; i += step)
      value = Combine{}(value, static_cast<A>(own[axes.offset(i)]));
    return value;
  }
  const int64_t stride = axes.strides[0];
  A value{};
  constexpr int kAtOnce = 8;
  for (int64_t first = i; first < end; first += kAtOnce * step) {
    A some[kAtOnce] = {};
    GRADGRAPH_UNROLL
    for (int j = 0; j < kAtOnce; ++j)
      if (first + j * step < end) some[j] = static_cast<A>(own[(first + j * step) * stride]);
    value = first == i ? some[0] : Combine{}(value, some[0]);
    GRADGRAPH_UNROLL
    for (int j = 1; j < kAtOnce; ++j)
      if (first + j * step < end) value = Combine{}(value, some[j]);
  }
  return value;
}

/// `count`: of all elements of a result where this is it, else 0 for one of several parts.
template <class R, class A, class To>
__device__ To finished(A value, int64_t count) {
  return count == 0 ? static_cast<To>(value)
                    : static_cast<To>(R::finish(static_cast<A>(value), count));
}

/// A block for every part of every result: neighbours are elements of one result.
template <class R, class A, class T, class To>
__global__ void __launch_bounds__(kThreads)
    reduce_by_blocks(const T* x, To* y, Cut cut, int64_t count) {
  using Combine = typename R::Combine;
  __shared__ A shared[kThreads];
  const int64_t results = cut.layout.kept.count, each = cut.layout.reduced.count;
  for (int64_t task = blockIdx.x; task < results * cut.parts; task += gridDim.x) {
    const int64_t part = task / results, result = task % results;
    const int64_t begin = part * cut.length, end = min(begin + cut.length, each);
    const int64_t i = begin + static_cast<int>(threadIdx.x);
    A value{};
    if (i < end)
      value = combine_every<Combine, A>(x + cut.layout.kept.offset(result), cut.layout.reduced, i,
                                        kThreads, end);
    const int present = static_cast<int>(min(end - begin, static_cast<int64_t>(kThreads)));
    const A total = block_reduce(value, present, shared, Combine{});
    if (threadIdx.x == 0) y[task] = finished<R, A, To>(total, count);
    __syncthreads();
  }
}

/// A block for every part of `width` results: neighbours are elements of neighbouring results.
template <class R, class A, class T, class To>
__global__ void __launch_bounds__(kColumnThreads)
    reduce_by_columns(const T* x, To* y, Cut cut, int64_t count) {
  using Combine = typename R::Combine;
  __shared__ A shared[kColumnThreads];
  const int64_t results = cut.layout.kept.count, each = cut.layout.reduced.count;
  const int64_t groups = (results + cut.width - 1) / cut.width;
  const int thread = static_cast<int>(threadIdx.x);
  const int lanes = kColumnThreads / cut.width, lane = thread / cut.width;
  for (int64_t task = blockIdx.x; task < groups * cut.parts; task += gridDim.x) {
    const int64_t part = task / groups, result = task % groups * cut.width + thread % cut.width;
    const int64_t begin = part * cut.length, end = min(begin + cut.length, each);
    const int present = static_cast<int>(min(end - begin, static_cast<int64_t>(lanes)));
    if (result < results && lane < present)
      shared[thread] =
          combine_every<Combine, A>(x + cut.layout.kept.offset(result), cut.layout.reduced,
                                    begin + lane, static_cast<int64_t>(lanes), end);
    int half = 1;
    while (2 * half < present) half *= 2;
    for (; half > 0; half /= 2) {
      __syncthreads();
      if (result < results && lane < half && lane + half < present)
        shared[thread] = Combine{}(shared[thread], shared[thread + half * cut.width]);
    }
    if (result < results && lane == 0)
      y[part * results + result] = finished<R, A, To>(shared[thread], count);
    __syncthreads();
  }
}

/// A thread for every result, of few elements; neighbours make neighbouring results.
template <class R, class A, class T, class To>
__global__ void __launch_bounds__(kThreads)
    reduce_by_threads(const T* x, To* y, Cut cut, int64_t count) {
  for (int64_t i = thread_number(); i < cut.layout.kept.count; i += num_threads())
    y[i] = finished<R, A, To>(
        combine_every<typename R::Combine, A>(x + cut.layout.kept.offset(i), cut.layout.reduced,
                                              0, 1, cut.layout.reduced.count),
        count);
}

template <class T>
__global__ void set_all(T* y, int64_t count, T value) {
  for (int64_t i = thread_number(); i < count; i += num_threads()) y[i] = value;
}

/// The launches of a reduction: the first reads the input, later ones combine partial results.
std::vector<Cut> plan_stages(const Shape& shape, std::uint32_t reduced_axes) {
  std::vector<Cut> stages{Cut(ReducedLayout(shape, reduced_axes))};
  while (stages.back().parts > 1)
    stages.emplace_back(
        ReducedLayout(Shape{stages.back().parts, stages.back().layout.kept.count}, 1));
  return stages;
}

template <class R, class T>
class Reduction {
 public:
  using A = Accumulator<R, T>;

  Reduction(const Shape& shape, std::uint32_t reduced_axes)
      : stages_(plan_stages(shape, reduced_axes)), each_(stages_[0].layout.reduced.count) {
    if (stages_.size() > 1) first_ = stages_[0].partials();
    if (stages_.size() > 2) second_ = stages_[1].partials();
  }

  std::size_t workspace_bytes() const {
    return static_cast<std::size_t>(first_ + second_) * sizeof(A);
  }

  void operator()(const KernelArgs& args) const {
    A* buffers[2] = {static_cast<A*>(args.workspace), static_cast<A*>(args.workspace) + first_};
    if (stages_.size() == 1)
      return run(args, args.input<T>(0), args.output<T>(), stages_[0], each_);
    run(args, args.input<T>(0), buffers[0], stages_[0], 0);
    std::size_t s = 1;
    for (; s + 1 < stages_.size(); ++s)
      run(args, static_cast<const A*>(buffers[(s - 1) % 2]), buffers[s % 2], stages_[s], 0);
    run(args, static_cast<const A*>(buffers[(s - 1) % 2]), args.output<T>(), stages_[s], each_);
  }

 private:
  template <class From, class To>
  static void run(const KernelArgs& args, const From* from, To* to, const Cut& cut,
                  int64_t count) {
    const int64_t results = cut.layout.kept.count;
    if (cut.manner == Manner::by_columns)
      issue(args, reduce_by_columns<R, A, From, To>,
            blocks_for((results + cut.width - 1) / cut.width * cut.parts, 1), kColumnThreads, 0,
            from, to, cut, count);
    else if (cut.manner == Manner::by_blocks)
      issue(args, reduce_by_blocks<R, A, From, To>, blocks_for(cut.partials(), 1), kThreads, 0,
            from, to, cut, count);
    else
      issue(args, reduce_by_threads<R, A, From, To>, blocks_for(results, kThreads), kThreads, 0,
            from, to, cut, count);
  }

  std::vector<Cut> stages_;
  int64_t each_;
  int64_t first_ = 0, second_ = 0;
};

template <class R, class T>
Kernel make_reduction(const Shape& shape, std::uint32_t reduced_axes) {
  const ReducedLayout layout(shape, reduced_axes);
  const int64_t results = layout.kept.count, each = layout.reduced.count;
  if (results == 0) return {[](const KernelArgs&) {}};
  if (each == 0) {
    if (std::is_base_of_v<functors::Max, R>)
      throw KernelError("there is no largest or smallest of no elements");
    const T value = R::finish(R::template start<T>(), 0);
    return {[=](const KernelArgs& args) {
      issue(args, set_all<T>, blocks_for(results, kThreads), kThreads, 0, args.output<T>(),
            results, value);
    }};
  }
  Reduction<R, T> reduction(shape, reduced_axes);
  const std::size_t workspace = reduction.workspace_bytes();
  return {std::move(reduction), workspace};
}

// --- Where the largest and the smallest are ----------------------------------------------------

/// A block for each result along the middle axis of [outer, length, inner].
template <class R, class T>
__global__ void __launch_bounds__(kThreads)
    find_best(const T* x, int64_t* y, int64_t results, int64_t length, int64_t inner) {
  __shared__ Best<T> shared[kThreads];
  for (int64_t result = blockIdx.x; result < results; result += gridDim.x) {
    const T* own = x + result / inner * length * inner + result % inner;
    int64_t i = static_cast<int>(threadIdx.x);
    Best<T> best{i < length ? own[i * inner] : T{}, i};
    for (i += kThreads; i < length; i += kThreads)
      if (R::better(own[i * inner], best.value)) best = {own[i * inner], i};
    const int count = static_cast<int>(min(length, static_cast<int64_t>(kThreads)));
    best = block_reduce(best, count, shared, BestOf<R, T>{});
    if (threadIdx.x == 0) y[result] = best.index;
    __syncthreads();
  }
}
/// A thread for each.
template <class R, class T>
__global__ void __launch_bounds__(kThreads)
    find_best_of_few(const T* x, int64_t* y, int64_t results, int64_t length, int64_t inner) {
  for (int64_t result = thread_number(); result < results; result += num_threads()) {
    const T* own = x + result / inner * length * inner + result % inner;
    Best<T> best{own[0], 0};
    for (int64_t i = 1; i < length; ++i)
      if (R::better(own[i * inner], best.value)) best = {own[i * inner], i};
    y[result] = best.index;
  }
}

template <class R, class T>
Kernel make_index_reduction(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const int axis = static_cast<int>(site.attribute<int64_t>("axis"));
  const int64_t length = shape[axis], inner = extent(shape, axis + 1, shape.rank());
  const int64_t results = extent(shape, 0, axis) * inner;
  if (results == 0) return {[](const KernelArgs&) {}};
  if (length == 0) throw KernelError("there is no largest or smallest of no elements");
  const bool by_blocks = inner == 1 && length > kWarp;
  return {[=](const KernelArgs& args) {
    if (by_blocks)
      issue(args, find_best<R, T>, blocks_for(results, 1), kThreads, 0, args.input<T>(0),
            args.output<int64_t>(), results, length, inner);
    else
      issue(args, find_best_of_few<R, T>, blocks_for(results, kThreads), kThreads, 0,
            args.input<T>(0), args.output<int64_t>(), results, length, inner);
  }};
}

// --- Registration ------------------------------------------------------------------------------

template <class R, class... T>
void add_reduction(KernelRegistry& registry, functors::List<T...>) {
  (registry.add(R::op, kCuda, {dtype_of<T>},
                [](const KernelSite& site) {
                  return make_reduction<R, T>(site.input_shape(0), axes_attribute(site));
                }),
   ...);
}
template <class... R>
void add_reductions(KernelRegistry& registry, functors::List<R...>) {
  (add_reduction<R>(registry, typename R::Types{}), ...);
}
template <class R, class... T>
void add_index_reduction(KernelRegistry& registry, functors::List<T...>) {
  (registry.add(R::op, kCuda, {dtype_of<T>}, make_index_reduction<R, T>), ...);
}
template <class... R>
void add_index_reductions(KernelRegistry& registry, functors::List<R...>) {
  (add_index_reduction<R>(registry, typename R::Types{}), ...);
}
template <class... T>
void add_sum_to(KernelRegistry& registry, functors::List<T...>) {
  (registry.add("sum_to", kCuda, {dtype_of<T>},
                [](const KernelSite& site) {
                  return make_reduction<functors::Sum, T>(
                      site.input_shape(0),
                      broadcast_axes(site.input_shape(0), site.output_shape()));
                }),
   ...);
}

}  // namespace

void register_reduction_kernels(KernelRegistry& registry) {
  add_reductions(registry, functors::Reduction{});
  add_index_reductions(registry, functors::IndexReduction{});
  add_sum_to(registry, functors::Numbers{});
}

}  // namespace gradgraph::cuda

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

constexpr int kThreads = 128;
/// Elements that a block combines at most, and that a thread does which is alone with them.
constexpr int64_t kBlockPart = 32 * kThreads, kThreadPart = 64;

template <class R, class T>
using Accumulator =
    std::conditional_t<std::is_same_v<R, functors::Prod> && std::is_same_v<T, float>, double, T>;

/// The elements of one result are dealt out to `parts`, each of which makes one of partial
/// results [part, result].
struct Cut {
  ReducedLayout layout;
  int64_t parts;
};

/// A block for every part of every result: neighbours are elements of one result.
template <class Combine, class A, class T>
__global__ void __launch_bounds__(kThreads) reduce_by_blocks(const T* x, A* y, Cut cut) {
  __shared__ A shared[kThreads];
  const int64_t results = cut.layout.kept.count, each = cut.layout.reduced.count;
  for (int64_t task = blockIdx.x; task < results * cut.parts; task += gridDim.x) {
    const int64_t part = task / results, result = task % results;
    const int64_t begin = part * kBlockPart, end = min(begin + kBlockPart, each);
    const T* own = x + cut.layout.kept.offset(result);
    A value{};
    int64_t i = begin + static_cast<int>(threadIdx.x);
    if (i < end) value = static_cast<A>(own[cut.layout.reduced.offset(i)]);
    for (i += kThreads; i < end; i += kThreads)
      value = Combine{}(value, static_cast<A>(own[cut.layout.reduced.offset(i)]));
    const int count = static_cast<int>(min(end - begin, static_cast<int64_t>(kThreads)));
    const A total = block_reduce(value, count, shared, Combine{});
    if (threadIdx.x == 0) y[task] = total;
    __syncthreads();
  }
}

/// A thread for every part of every result: neighbours are elements of neighbouring results. A
/// part takes every `parts`th element, so that neighbouring parts read neighbours as well.
template <class Combine, class A, class T>
__global__ void __launch_bounds__(kThreads) reduce_by_threads(const T* x, A* y, Cut cut) {
  const int64_t results = cut.layout.kept.count, each = cut.layout.reduced.count;
  for (int64_t task = thread_number(); task < results * cut.parts; task += num_threads()) {
    const int64_t part = task / results, result = task % results;
    const T* own = x + cut.layout.kept.offset(result);
    A value = static_cast<A>(own[cut.layout.reduced.offset(part)]);
    for (int64_t i = part + cut.parts; i < each; i += cut.parts)
      value = Combine{}(value, static_cast<A>(own[cut.layout.reduced.offset(i)]));
    y[task] = value;
  }
}

template <class R, class A, class T>
__global__ void finish(const A* totals, T* y, int64_t results, int64_t each) {
  for (int64_t i = thread_number(); i < results; i += num_threads())
    y[i] = static_cast<T>(R::finish(totals[i], each));
}
template <class T>
__global__ void set_all(T* y, int64_t count, T value) {
  for (int64_t i = thread_number(); i < count; i += num_threads()) y[i] = value;
}

/// One launch of a reduction: the first reads the input, later ones combine partial results.
struct Stage {
  Cut cut;
  bool by_blocks;
  int64_t partials() const { return cut.layout.kept.count * cut.parts; }
};

std::vector<Stage> plan_stages(const Shape& shape, std::uint32_t reduced_axes) {
  std::vector<Stage> stages;
  ReducedLayout layout(shape, reduced_axes);
  while (true) {
    const int64_t each = layout.reduced.count;
    const bool by_blocks = layout.inner_reduced && each > kWarp;
    const int64_t longest = by_blocks ? kBlockPart : kThreadPart;
    stages.push_back({{layout, (each + longest - 1) / longest}, by_blocks});
    const Cut& cut = stages.back().cut;
    if (cut.parts == 1) return stages;
    layout = ReducedLayout(Shape{cut.parts, layout.kept.count}, 1);
  }
}

template <class R, class T>
class Reduction {
 public:
  using A = Accumulator<R, T>;

  Reduction(const Shape& shape, std::uint32_t reduced_axes)
      : stages_(plan_stages(shape, reduced_axes)),
        each_(stages_[0].cut.layout.reduced.count),
        results_(stages_[0].cut.layout.kept.count) {
    first_ = stages_[0].partials();
    second_ = stages_.size() > 1 ? stages_[1].partials() : 0;
  }

  std::size_t workspace_bytes() const {
    return static_cast<std::size_t>(first_ + second_) * sizeof(A);
  }

  void operator()(const KernelArgs& args) const {
    A* buffers[2] = {static_cast<A*>(args.workspace), static_cast<A*>(args.workspace) + first_};
    run(args, args.input<T>(0), buffers[0], stages_[0]);
    for (std::size_t s = 1; s < stages_.size(); ++s)
      run(args, static_cast<const A*>(buffers[(s - 1) % 2]), buffers[s % 2], stages_[s]);
    issue(args, finish<R, A, T>, blocks_for(results_, kThreads), kThreads, 0,
          static_cast<const A*>(buffers[(stages_.size() - 1) % 2]), args.output<T>(), results_,
          each_);
  }

 private:
  template <class From>
  static void run(const KernelArgs& args, const From* from, A* to, const Stage& stage) {
    using Combine = typename R::Combine;
    if (stage.by_blocks)
      issue(args, reduce_by_blocks<Combine, A, From>, blocks_for(stage.partials(), 1), kThreads,
            0, from, to, stage.cut);
    else
      issue(args, reduce_by_threads<Combine, A, From>, blocks_for(stage.partials(), kThreads),
            kThreads, 0, from, to, stage.cut);
  }

  std::vector<Stage> stages_;
  int64_t each_, results_;
  int64_t first_, second_;
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

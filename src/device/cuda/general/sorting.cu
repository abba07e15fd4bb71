#include "device/cuda/general/sort.h"
#include "device/cuda/kernels.h"
#include "device/shared/scans.h"

/// What goes along one axis: orders, running sums and products, and ranges.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

constexpr int kThreads = 128;

/// The first elements of each row of `order`, [row, size], to [outer, to.size, inner].
__global__ void __launch_bounds__(kThreads)
    take_first(const int64_t* order, int64_t* y, AxisView to, int64_t size) {
  for (int64_t i = thread_number(); i < to.rows() * to.size; i += num_threads()) {
    const int64_t inner = i % to.inner, place = i / to.inner % to.size;
    const int64_t row = i / (to.inner * to.size) * to.inner + inner;
    y[i] = order[row * size + place];
  }
}

template <class T>
Kernel make_argsort(const KernelSite& site) {
  const AxisView from(site.input_shape(0), axis_of(site)), to(site.output_shape(), axis_of(site));
  if (to.size > from.size)
    throw KernelError("there are fewer elements along the axis than are wanted");
  const RowSort<T> sort(from, site.attribute<bool>("descending"));
  const int64_t count = site.output_shape().num_elements();
  return {[=](const KernelArgs& args) {
            if (count == 0) return;
            const int64_t* order = sort.run(args, args.input<T>(0), args.workspace);
            issue(args, take_first, blocks_for(count, kThreads), kThreads, 0, order,
                  args.output<int64_t>(), to, from.size);
          },
          sort.workspace_bytes()};
}

/// A block for each row, a tile at a time: of 1, 2, 4, ... neighbours, and what came before.
template <class Scan, class T>
__global__ void __launch_bounds__(kThreads)
    scan_rows(const T* x, T* y, AxisView view, bool exclusive, bool reverse) {
  using State = functors::State<T>;
  __shared__ State states[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t row = blockIdx.x; row < view.rows(); row += gridDim.x) {
    const int64_t start = view.start(row);
    State before{Scan::kStart};
    for (int64_t tile = 0; tile < view.size; tile += kThreads) {
      const int64_t step = tile + thread, i = reverse ? view.size - 1 - step : step;
      const bool is_there = step < view.size;
      states[thread] =
          is_there ? static_cast<State>(x[start + i * view.inner]) : State{Scan::kStart};
      __syncthreads();
      for (int distance = 1; distance < kThreads; distance *= 2) {
        const State other = thread >= distance ? states[thread - distance] : State{Scan::kStart};
        __syncthreads();
        states[thread] = Scan::joined(other, states[thread]);
        __syncthreads();
      }
      State own = states[thread];
      if (exclusive) own = thread > 0 ? states[thread - 1] : State{Scan::kStart};
      if (is_there) y[start + i * view.inner] = static_cast<T>(Scan::joined(before, own));
      before = Scan::joined(before, states[kThreads - 1]);
      __syncthreads();
    }
  }
}
/// A thread for each row.
template <class Scan, class T>
__global__ void __launch_bounds__(kThreads)
    scan_one_by_one(const T* x, const T* other, T* y, AxisView view, bool exclusive,
                    bool reverse) {
  using State = functors::State<T>;
  for (int64_t row = thread_number(); row < view.rows(); row += num_threads()) {
    const int64_t start = view.start(row);
    State state{Scan::kStart};
    for (int64_t step = 0; step < view.size; ++step) {
      const int64_t at = start + (reverse ? view.size - 1 - step : step) * view.inner;
      const State after = Scan::next(state, x[at], other[at]);
      y[at] = static_cast<T>(exclusive ? state : after);
      state = after;
    }
  }
}

template <class Scan, class T>
Kernel make_scan(const KernelSite& site) {
  const AxisView view(site.input_shape(0), axis_of(site));
  const bool exclusive = site.attribute<bool>("exclusive");
  const bool reverse = site.attribute<bool>("reverse");
  if (view.rows() * view.size == 0) return {[](const KernelArgs&) {}};
  if constexpr (requires { Scan::joined(functors::State<T>{}, functors::State<T>{}); })
    if (view.inner == 1 && view.size > kWarp)
      return {[=](const KernelArgs& args) {
        issue(args, scan_rows<Scan, T>, blocks_for(view.rows(), 1), kThreads, 0, args.input<T>(0),
              args.output<T>(), view, exclusive, reverse);
      }};
  return {[=](const KernelArgs& args) {
    issue(args, scan_one_by_one<Scan, T>, blocks_for(view.rows(), kThreads), kThreads, 0,
          args.input<T>(0), args.input<T>(Scan::kInputs - 1), args.output<T>(), view, exclusive,
          reverse);
  }};
}

template <class Scan, class... T>
void add_scan(KernelRegistry& registry, functors::List<T...>) {
  (registry.add(Scan::op, kCuda, {dtype_of<T>}, make_scan<Scan, T>), ...);
}
template <class... Scan>
void add_scans(KernelRegistry& registry, functors::List<Scan...>) {
  (add_scan<Scan>(registry, typename Scan::Types{}), ...);
}

template <class T, class Exact>
__global__ void __launch_bounds__(kThreads)
    count_up(T* y, int64_t count, Exact start, Exact step) {
  for (int64_t i = thread_number(); i < count; i += num_threads())
    y[i] = static_cast<T>(start + step * static_cast<Exact>(i));
}

template <class T>
Kernel make_range(const KernelSite& site) {
  using Exact = typename Progression<T>::Exact;
  const Progression<T> numbers(site);
  const int64_t count = site.output_shape().num_elements();
  if (count == 0) return {[](const KernelArgs&) {}};
  return {[=](const KernelArgs& args) {
    issue(args, count_up<T, Exact>, blocks_for(count, kThreads), kThreads, 0, args.output<T>(),
          count, numbers.start, numbers.step);
  }};
}

template <class T>
void add_for(KernelRegistry& registry) {
  registry.add("argsort", kCuda, {dtype_of<T>}, make_argsort<T>);
  registry.add("range", kCuda, {dtype_of<T>}, make_range<T>);
}

}  // namespace

void register_sorting_kernels(KernelRegistry& registry) {
  add_for<float>(registry);
  add_for<double>(registry);
  add_for<std::int32_t>(registry);
  add_for<int64_t>(registry);
  add_for<std::uint8_t>(registry);
  add_scans(registry, functors::Scan{});
}

}  // namespace gradgraph::cuda

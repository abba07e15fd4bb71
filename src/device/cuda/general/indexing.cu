#include <algorithm>

#include "device/cuda/general/indices.h"
#include "device/cuda/general/sort.h"
#include "device/cuda/kernels.h"
#include "device/cuda/quads.h"
#include "device/shared/elements.h"

/// Reading and adding at indices. What is added to what is in the order of the indices, which are
/// looked through or sorted: no atomic operation is needed, and results have the same bits in
/// every run.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

constexpr int kThreads = 256;

template <class I>
__global__ void __launch_bounds__(kThreads)
    find_bad_index(const I* indices, int64_t count, int64_t size, RefusalSlot slot) {
  refuse_first_bad<kThreads>(indices, count, size, slot);
}

}  // namespace

void check_indices(const KernelArgs& args, const void* indices, DType dtype, int64_t count,
                   int64_t size) {
  if (count == 0) return;
  dispatch<std::int32_t, int64_t, std::uint8_t>(dtype, [&]<class I>() {
    issue(args, find_bad_index<I>, 1, kThreads, 0, static_cast<const I*>(indices), count, size,
          stream_of(args).refusal_slot());
  });
}

namespace {

/// The last block looks for an index to refuse; the others leave such indices out.
template <class T, class I>
__global__ void __launch_bounds__(kThreads)
    gather(const T* x, const I* indices, T* y, Indexed at, RefusalSlot slot) {
  const unsigned blocks = gridDim.x - 1;
  if (blockIdx.x == blocks) return refuse_first_bad<kThreads>(indices, at.count, at.size, slot);
  const int64_t step = static_cast<int64_t>(blocks) * kThreads;
  for (int64_t i = thread_number(); i < at.outer * at.count * at.inner; i += step) {
    const int64_t column = i % at.inner, row = i / at.inner;
    const auto index = static_cast<int64_t>(indices[row % at.count]);
    const bool is_there = index >= 0 && index < at.size;
    y[i] = is_there ? x[(row / at.count * at.size + index) * at.inner + column] : T{};
  }
}

/// Calls `body.template operator()<T>()` with the largest type that rows of `bytes` consist of.
template <class Body>
Kernel dispatch_pieces(int64_t bytes, const Body& body) {
  if (bytes % 16 == 0) return body.template operator()<Quad<std::uint32_t>>();
  if (bytes % 8 == 0) return body.template operator()<std::uint64_t>();
  if (bytes % 4 == 0) return body.template operator()<std::uint32_t>();
  if (bytes % 2 == 0) return body.template operator()<std::uint16_t>();
  return body.template operator()<std::uint8_t>();
}

Kernel make_gather(const KernelSite& site) {
  const Indexed given(site.input_shape(0), axis_of(site), site.input_shape(1));
  const auto bytes = given.inner * static_cast<int64_t>(size_of(site.output_dtype()));
  return dispatch<std::int32_t, int64_t, std::uint8_t>(site.input_dtype(1), [&]<class I>() {
    return dispatch_pieces(bytes, [&]<class T>() {
      Indexed at = given;
      at.inner = bytes / static_cast<int64_t>(sizeof(T));
      const int64_t count = at.outer * at.count * at.inner;
      return Kernel{[=](const KernelArgs& args) {
        if (at.count > 0)
          issue(args, gather<T, I>, blocks_for(count, kThreads) + 1, kThreads, 0,
                args.input<T>(0), args.input<I>(1), args.output<T>(), at,
                stream_of(args).refusal_slot());
      }};
    });
  });
}

/// A thread for each element of the result, which adds what belongs there.
template <class T, class I>
__global__ void __launch_bounds__(kThreads)
    add_sorted(const I* indices, const int64_t* order, const T* updates, T* y, Indexed at) {
  for (int64_t i = thread_number(); i < at.outer * at.size * at.inner; i += num_threads()) {
    const int64_t column = i % at.inner, row = i / at.inner;
    const int64_t index = row % at.size, outer = row / at.size;
    T sum = 0;
    const int64_t smaller = count_passing(
        at.count, [&](int64_t k) { return static_cast<int64_t>(indices[order[k]]) < index; });
    for (int64_t k = smaller; k < at.count && static_cast<int64_t>(indices[order[k]]) == index;
         ++k)
      sum = static_cast<T>(sum + updates[(outer * at.count + order[k]) * at.inner + column]);
    y[i] = sum;
  }
}

/// A warp for each kWarp columns of a row of the result: it looks through all indices, several
/// for each lane at a time, and adds what is found in their order.
template <class T, class I>
__global__ void __launch_bounds__(kThreads)
    add_found(const I* indices, const T* updates, T* y, Indexed at) {
  constexpr int kLooks = 8, kTogether = 4;
  __shared__ int shared[kThreads / kWarp][kLooks * kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int* const places = shared[threadIdx.x / kWarp];
  const int64_t tiles = (at.inner + kWarp - 1) / kWarp;
  for (int64_t task = thread_number() / kWarp; task < at.outer * at.size * tiles;
       task += num_threads() / kWarp) {
    const int64_t row = task / tiles, column = task % tiles * kWarp + lane;
    const int64_t index = row % at.size, outer = row / at.size;
    const T* const own = updates + outer * at.count * at.inner + column;
    T sum = 0;
    for (int64_t begin = 0; begin < at.count; begin += kLooks * kWarp) {
      bool is_it[kLooks];
      GRADGRAPH_UNROLL
      for (int look = 0; look < kLooks; ++look) {
        const int64_t k = begin + look * kWarp + lane;
        is_it[look] = k < at.count && static_cast<int64_t>(indices[k]) == index;
      }
      int found = 0;
      GRADGRAPH_UNROLL
      for (int look = 0; look < kLooks; ++look) {
        const unsigned lanes = __ballot_sync(0xffffffffu, is_it[look]);
        if (is_it[look]) places[found + __popc(lanes & ((1u << lane) - 1))] = look * kWarp + lane;
        found += __popc(lanes);
      }
      __syncwarp();
      for (int first = 0; first < found; first += kTogether) {
        T values[kTogether];
        GRADGRAPH_UNROLL
        for (int i = 0; i < kTogether; ++i)
          if (first + i < found && column < at.inner)
            values[i] = own[(begin + places[first + i]) * at.inner];
        GRADGRAPH_UNROLL
        for (int i = 0; i < kTogether; ++i)
          if (first + i < found && column < at.inner) sum = static_cast<T>(sum + values[i]);
      }
      __syncwarp();
    }
    if (column < at.inner) y[row * at.inner + column] = sum;
  }
}

/// How often a warp looks at kWarp indices, up to which it costs less than to sort them.
constexpr double kMostLooks = 1 << 23;
double looks(const Indexed& at) {
  const auto warps = [](int64_t elements) {
    return static_cast<double>((elements + kWarp - 1) / kWarp);
  };
  return static_cast<double>(at.outer * at.size) * warps(at.inner) * warps(at.count);
}

Kernel make_scatter_add(const KernelSite& site) {
  const Indexed at(site.output_shape(), axis_of(site), site.input_shape(1));
  const int64_t count = site.output_shape().num_elements();
  if (looks(at) <= kMostLooks)
    return dispatch<std::int32_t, int64_t, std::uint8_t>(site.input_dtype(1), [&]<class I>() {
      return dispatch_sum(site.output_dtype(), [&]<class T>() {
        return Kernel{[=](const KernelArgs& args) {
          check_indices(args, args.inputs[1], dtype_of<I>, at.count, at.size);
          if (count > 0)
            issue(args, add_found<T, I>,
                  blocks_for(at.outer * at.size * ((at.inner + kWarp - 1) / kWarp),
                             kThreads / kWarp),
                  kThreads, 0, args.input<I>(1), args.input<T>(2), args.output<T>(), at);
        }};
      });
    });
  return dispatch<std::int32_t, int64_t, std::uint8_t>(site.input_dtype(1), [&]<class I>() {
    return dispatch_sum(site.output_dtype(), [&]<class T>() {
      const RowSort<I> sort({1, at.count, 1}, false);
      return Kernel{[=](const KernelArgs& args) {
                      check_indices(args, args.inputs[1], dtype_of<I>, at.count, at.size);
                      const int64_t* order = sort.run(args, args.input<I>(1), args.workspace);
                      if (count > 0)
                        issue(args, add_sorted<T, I>, blocks_for(count, kThreads), kThreads, 0,
                              args.input<I>(1), order, args.input<T>(2), args.output<T>(), at);
                    },
                    sort.workspace_bytes()};
    });
  });
}

Kernel make_check_indices(const KernelSite& site) {
  const int64_t count = site.input_shape(0).num_elements();
  const int64_t size = site.attribute<int64_t>("size");
  return {[=, dtype = site.input_dtype(0), bytes = output_bytes(site)](const KernelArgs& args) {
    check_indices(args, args.inputs[0], dtype, count, size);
    if (args.inputs[0] != args.outputs[0])
      stream_of(args).copy(args.outputs[0], args.inputs[0], bytes, CopyKind::within);
  }};
}

/// A row for each index, all zeros where there is no such class.
template <class T, class I>
__global__ void __launch_bounds__(kThreads)
    one_hot(const I* indices, T* y, int64_t count, int64_t depth, T one) {
  for (int64_t i = thread_number(); i < count * depth; i += num_threads())
    y[i] = static_cast<int64_t>(indices[i / depth]) == i % depth ? one : T{0};
}

Kernel make_one_hot(const KernelSite& site) {
  const int64_t count = site.input_shape(0).num_elements();
  const int64_t depth = site.attribute<int64_t>("depth");
  const std::uint64_t one = element_bits(site.output_dtype(), 1);
  return dispatch<std::int32_t, int64_t, std::uint8_t>(site.input_dtype(0), [&]<class I>() {
    return dispatch_size(site.output_dtype(), [&]<class T>() {
      return Kernel{[=](const KernelArgs& args) {
        if (count * depth > 0)
          issue(args, one_hot<T, I>, blocks_for(count * depth, kThreads), kThreads, 0,
                args.input<I>(0), args.output<T>(), count, depth, static_cast<T>(one));
      }};
    });
  });
}

// --- Along an axis -----------------------------------------------------------------------------

/// Element i of each row of [outer, count, inner] takes element indices[i] of its row of
/// [outer, size, inner].
template <class T, class I>
__global__ void __launch_bounds__(kThreads)
    take_along(const T* x, const I* indices, T* y, AxisView to, int64_t size) {
  for (int64_t i = thread_number(); i < to.outer * to.size * to.inner; i += num_threads()) {
    const int64_t inner = i % to.inner, outer = i / (to.size * to.inner);
    const auto index = static_cast<int64_t>(indices[i]);
    const bool is_there = index >= 0 && index < size;
    y[i] = is_there ? x[(outer * size + index) * to.inner + inner] : T{0};
  }
}

Kernel make_take(const KernelSite& site) {
  const AxisView to(site.output_shape(), axis_of(site));
  const int64_t size = site.input_shape(0)[axis_of(site)];
  const int64_t count = site.output_shape().num_elements();
  return dispatch<std::int32_t, int64_t, std::uint8_t>(site.input_dtype(1), [&]<class I>() {
    return dispatch_size(site.output_dtype(), [&]<class T>() {
      return Kernel{[=](const KernelArgs& args) {
        check_indices(args, args.inputs[1], dtype_of<I>, count, size);
        if (count > 0)
          issue(args, take_along<T, I>, blocks_for(count, kThreads), kThreads, 0,
                args.input<T>(0), args.input<I>(1), args.output<T>(), to, size);
      }};
    });
  });
}

/// A thread for each element of the result, [outer, size, inner].
template <class T, class I>
__global__ void __launch_bounds__(kThreads)
    add_along(const I* indices, const int64_t* order, const T* updates, T* y, AxisView from,
              int64_t size) {
  for (int64_t i = thread_number(); i < from.outer * size * from.inner; i += num_threads()) {
    const int64_t inner = i % from.inner, index = i / from.inner % size;
    const int64_t row = i / (size * from.inner) * from.inner + inner;
    const int64_t* own = order + row * from.size;
    const int64_t start = from.start(row);
    int64_t first = count_passing(from.size, [&](int64_t k) {
      return static_cast<int64_t>(indices[start + own[k] * from.inner]) < index;
    });
    T sum = 0;
    for (; first < from.size; ++first) {
      const int64_t at = start + own[first] * from.inner;
      if (static_cast<int64_t>(indices[at]) != index) break;
      sum = static_cast<T>(sum + updates[at]);
    }
    y[i] = sum;
  }
}

Kernel make_add(const KernelSite& site) {
  const AxisView from(site.input_shape(2), axis_of(site));
  const int64_t size = site.output_shape()[axis_of(site)];
  const int64_t count = site.output_shape().num_elements();
  const int64_t indices = site.input_shape(1).num_elements();
  return dispatch<std::int32_t, int64_t, std::uint8_t>(site.input_dtype(1), [&]<class I>() {
    return dispatch_sum(site.output_dtype(), [&]<class T>() {
      const RowSort<I> sort(from, false);
      return Kernel{[=](const KernelArgs& args) {
                      check_indices(args, args.inputs[1], dtype_of<I>, indices, size);
                      const int64_t* order = sort.run(args, args.input<I>(1), args.workspace);
                      if (count > 0)
                        issue(args, add_along<T, I>, blocks_for(count, kThreads), kThreads, 0,
                              args.input<I>(1), order, args.input<T>(2), args.output<T>(), from,
                              size);
                    },
                    sort.workspace_bytes()};
    });
  });
}

}  // namespace

void register_indexing_kernels(KernelRegistry& registry) {
  registry.add("gather", kCuda, kAllDTypes, make_gather);
  registry.add("scatter_add", kCuda, kNumberDTypes, make_scatter_add);
  registry.add("check_indices", kCuda, {int32, int64, uint8}, make_check_indices);
  registry.add("one_hot", kCuda, {int32, int64, uint8}, make_one_hot);
  registry.add("take_along_axis", kCuda, kAllDTypes, make_take);
  registry.add("add_along_axis", kCuda, kNumberDTypes, make_add);
}

}  // namespace gradgraph::cuda

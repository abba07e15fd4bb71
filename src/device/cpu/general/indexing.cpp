#include <algorithm>
#include <cstring>

#include "core/text.h"
#include "device/cpu/elements.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"

namespace gradgraph {
namespace {

/// A tensor around its indexed axis: [outer, size, inner], and the number of indices.
struct Indexed {
  std::int64_t outer, size, inner, count;
  int threads;
};

Indexed indexed(const KernelSite& site, const Shape& shape, const Shape& indices) {
  const int axis = static_cast<int>(site.attribute<std::int64_t>("axis"));
  return {extent(shape, 0, axis), shape[axis], extent(shape, axis + 1, shape.rank()),
          indices.num_elements(), site.threads()};
}

template <class I>
void check_indices(const I* indices, std::int64_t count, std::int64_t size) {
  for (std::int64_t i = 0; i < count; ++i)
    if (const auto index = static_cast<std::int64_t>(indices[i]); index < 0 || index >= size)
      throw KernelError(fmt::format("index {} (number {}) is outside [0,{})", index, i, size));
}

template <class T, class I>
void gather(const Indexed& at, const KernelArgs& args) {
  const T* x = args.input<T>(0);
  const I* indices = args.input<I>(1);
  T* out = args.output<T>();
  check_indices(indices, at.count, at.size);
  const auto rows = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t from = row / at.count * at.size + indices[row % at.count];
      if (at.inner == 1)
        out[row] = x[from];
      else
        std::memcpy(out + row * at.inner, x + from * at.inner,
                    static_cast<std::size_t>(at.inner) * sizeof(T));
    }
  };
  if (at.count * at.inner > 0)
    parallel_for(at.outer * at.count, kParallelGrain / at.inner, at.threads, rows);
}

/// Each thread owns rows of the result and adds what belongs there in the order of the indices.
template <class T, class I>
void scatter_add(const Indexed& at, const KernelArgs& args) {
  const I* indices = args.input<I>(1);
  const T* updates = args.input<T>(2);
  T* out = args.output<T>();
  check_indices(indices, at.count, at.size);
  const auto rows = [&](std::int64_t begin, std::int64_t end) {
    std::fill(out + begin * at.inner, out + end * at.inner, T{});
    for (std::int64_t o = begin / at.size; o * at.size < end; ++o)
      for (std::int64_t i = 0; i < at.count; ++i) {
        const std::int64_t row = o * at.size + indices[i];
        if (row < begin || row >= end) continue;
        const T* from = updates + (o * at.count + i) * at.inner;
        T* to = out + row * at.inner;
        for (std::int64_t j = 0; j < at.inner; ++j) to[j] = static_cast<T>(to[j] + from[j]);
      }
  };
  if (at.size * at.inner > 0)
    parallel_for(at.outer * at.size, kParallelGrain / at.inner, at.threads, rows);
}

Kernel make_gather(const KernelSite& site) {
  const Indexed at = indexed(site, site.input_shape(0), site.input_shape(1));
  return dispatch<std::int32_t, std::int64_t>(site.input_dtype(1), [&]<class I>() {
    return dispatch_size(site.output_dtype(), [&]<class T>() {
      return Kernel{[at](const KernelArgs& args) { gather<T, I>(at, args); }};
    });
  });
}

Kernel make_scatter_add(const KernelSite& site) {
  const Indexed at = indexed(site, site.output_shape(), site.input_shape(1));
  return dispatch<std::int32_t, std::int64_t>(site.input_dtype(1), [&]<class I>() {
    return dispatch_sum(site.output_dtype(), [&]<class T>() {
      return Kernel{[at](const KernelArgs& args) { scatter_add<T, I>(at, args); }};
    });
  });
}

Kernel make_check_indices(const KernelSite& site) {
  const std::int64_t count = site.input_shape(0).num_elements();
  const std::int64_t size = site.attribute<std::int64_t>("size");
  return dispatch<std::int32_t, std::int64_t, std::uint8_t>(site.input_dtype(0), [=]<class I>() {
    return Kernel{[=](const KernelArgs& args) {
      check_indices(args.input<I>(0), count, size);
      if (args.inputs[0] != args.outputs[0])
        std::copy_n(args.input<I>(0), count, args.output<I>());
    }};
  });
}

Kernel make_one_hot(const KernelSite& site) {
  const std::int64_t rows = site.input_shape(0).num_elements();
  const std::int64_t depth = site.attribute<std::int64_t>("depth");
  const std::uint64_t one = element_bits(site.output_dtype(), 1);
  return dispatch<std::int32_t, std::int64_t, std::uint8_t>(site.input_dtype(0), [&]<class I>() {
    return dispatch_size(site.output_dtype(), [&]<class T>() {
      return Kernel{[=](const KernelArgs& args) {
        const I* indices = args.input<I>(0);
        T* out = args.output<T>();
        std::fill_n(out, rows * depth, T{});
        for (std::int64_t row = 0; row < rows; ++row) {
          const auto index = static_cast<std::int64_t>(indices[row]);
          if (index >= 0 && index < depth) out[row * depth + index] = static_cast<T>(one);
        }
      }};
    });
  });
}

}  // namespace

void register_indexing_kernels(KernelRegistry& registry) {
  registry.add("gather", kCpu, kAllDTypes, make_gather);
  registry.add("scatter_add", kCpu, kNumberDTypes, make_scatter_add);
  registry.add("check_indices", kCpu, {int32, int64, uint8}, make_check_indices);
  registry.add("one_hot", kCpu, {int32, int64, uint8}, make_one_hot);
}

}  // namespace gradgraph

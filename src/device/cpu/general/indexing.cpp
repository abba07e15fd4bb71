#include <algorithm>
#include <cstring>

#include "device/cpu/general/indexing.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"

namespace gradgraph {
namespace {

Indexed indexed(const KernelSite& site, const Shape& shape) {
  return {shape, static_cast<int>(site.attribute<std::int64_t>("axis")), site.input_shape(1)};
}

template <class T, class I>
void gather(const Indexed& at, int threads, const KernelArgs& args) {
  const T* x = args.input<T>(0);
  const I* indices = args.input<I>(1);
  T* out = args.output<T>();
  check_indices(indices, at.count, at.size);
  const auto rows = [&](std::int64_t begin, std::int64_t end) {
    std::int64_t i = begin % at.count;
    const T* block = x + begin / at.count * at.size * at.inner;
    for (std::int64_t row = begin; row < end; ++row) {
      if (at.inner == 1)
        out[row] = block[indices[i]];
      else
        std::memcpy(out + row * at.inner, block + indices[i] * at.inner,
                    static_cast<std::size_t>(at.inner) * sizeof(T));
      if (++i == at.count) i = 0, block += at.size * at.inner;
    }
  };
  if (at.count * at.inner > 0)
    parallel_for(at.outer * at.count, grain_of(at.inner), threads, rows);
}

/// Adds in the order of the indices. Whoever shares the work on a block has rows of its own, and
/// goes through all indices to find what belongs there: so there are no more parts than threads,
/// and none where rows are short.
template <class T, class I>
void scatter_add(const Indexed& at, int threads, const KernelArgs& args) {
  constexpr std::int64_t kShort = 64 / sizeof(T);
  const I* indices = args.input<I>(1);
  const T* updates = args.input<T>(2);
  T* out = args.output<T>();
  check_indices(indices, at.count, at.size);
  parallel_for(
      at.outer * at.size * at.inner, kParallelGrain, threads,
      [&](std::int64_t begin, std::int64_t end) { std::fill(out + begin, out + end, T{}); });
  const std::int64_t additions = at.count * at.inner;
  if (at.outer * additions == 0) return;
  const std::int64_t most = at.inner < kShort ? 1 : additions / kParallelGrain;
  const std::int64_t parts =
      std::clamp<std::int64_t>(most, 1, std::max<std::int64_t>(threads / at.outer, 1));
  const auto add = [=, size = at.size, count = at.count, inner = at.inner](std::int64_t begin,
                                                                           std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t block = task / parts, part = task % parts;
      const std::int64_t first = size * part / parts, last = size * (part + 1) / parts;
      const T* from = updates + block * additions;
      T* const rows = out + block * size * inner;
      for (std::int64_t i = 0; i < count; ++i, from += inner) {
        const std::int64_t row = indices[i];
        if (row < first || row >= last) continue;
        T* const to = rows + row * inner;
        for (std::int64_t j = 0; j < inner; ++j) to[j] = static_cast<T>(to[j] + from[j]);
      }
    }
  };
  parallel_for(at.outer * parts, grain_of(additions / parts), threads, add);
}

Kernel make_gather(const KernelSite& site) {
  const Indexed at = indexed(site, site.input_shape(0));
  return dispatch<std::int32_t, std::int64_t>(site.input_dtype(1), [&]<class I>() {
    return dispatch_size(site.output_dtype(), [&]<class T>() {
      return Kernel{[at, threads = site.threads()](const KernelArgs& args) {
        gather<T, I>(at, threads, args);
      }};
    });
  });
}

Kernel make_scatter_add(const KernelSite& site) {
  const Indexed at = indexed(site, site.output_shape());
  return dispatch<std::int32_t, std::int64_t>(site.input_dtype(1), [&]<class I>() {
    return dispatch_sum(site.output_dtype(), [&]<class T>() {
      return Kernel{[at, threads = site.threads()](const KernelArgs& args) {
        scatter_add<T, I>(at, threads, args);
      }};
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

}  // namespace

void register_indexing_kernels(KernelRegistry& registry) {
  registry.add_faster("gather", kCpu, kAllDTypes, make_gather);
  registry.add_faster("scatter_add", kCpu, kNumberDTypes, make_scatter_add);
  registry.add("check_indices", kCpu, {int32, int64, uint8}, make_check_indices);
}

}  // namespace gradgraph

#include "device/cpu/elements.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"

/// Running sums in loops of our own: tiles of columns side by side, row after row.
namespace gradgraph {
namespace {

using std::int64_t;

constexpr int64_t kTile = 256;

template <class T, class A>
Kernel make_cumsum(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const int axis = static_cast<int>(site.attribute<int64_t>("axis"));
  const bool exclusive = site.attribute<bool>("exclusive");
  const int64_t outer = extent(shape, 0, axis), length = shape[axis],
                inner = extent(shape, axis + 1, shape.rank());
  const int64_t tiles = (inner + kTile - 1) / kTile;
  const int64_t first = site.attribute<bool>("reverse") ? (length - 1) * inner : 0;
  const int64_t step = site.attribute<bool>("reverse") ? -inner : inner;
  const int64_t grain = kParallelGrain / std::max<int64_t>(length * std::min(inner, kTile), 1);
  return {[=, threads = site.threads()](const KernelArgs& args) {
    parallel_for(outer * tiles, grain, threads, [&](int64_t begin, int64_t end) {
      A totals[kTile];
      for (int64_t task = begin; task < end; ++task) {
        const int64_t column = task % tiles * kTile, width = std::min(kTile, inner - column);
        const int64_t start = task / tiles * length * inner + column + first;
        const T* x = args.input<T>(0) + start;
        T* y = args.output<T>() + start;
        std::fill_n(totals, width, A{0});
        for (int64_t i = 0; i < length; ++i, x += step, y += step)
          for (int64_t c = 0; c < width; ++c) {
            const A before = totals[c];
            const A after = static_cast<A>(before + static_cast<A>(x[c]));
            y[c] = static_cast<T>(exclusive ? before : after);
            totals[c] = after;
          }
      }
    });
  }};
}

}  // namespace

void register_scan_kernels(KernelRegistry& registry) {
  registry.add_faster("cumsum", kCpu, {float32}, make_cumsum<float, double>);
  registry.add_faster("cumsum", kCpu, {float64}, make_cumsum<double, double>);
  registry.add_faster("cumsum", kCpu, {int32}, make_cumsum<std::uint32_t, std::uint32_t>);
  registry.add_faster("cumsum", kCpu, {int64}, make_cumsum<std::uint64_t, std::uint64_t>);
  registry.add_faster("cumsum", kCpu, {uint8}, make_cumsum<std::uint8_t, std::uint8_t>);
}

}  // namespace gradgraph

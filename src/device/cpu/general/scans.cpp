#include "device/shared/scans.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"

/// Running sums and products in loops of our own: tiles of columns side by side, row after row.
namespace gradgraph {
namespace {

using std::int64_t;

constexpr int64_t kTile = 256;

template <class Scan, class T>
Kernel make_scan(const KernelSite& site) {
  using State = functors::State<T>;
  const Shape& shape = site.input_shape(0);
  const int axis = static_cast<int>(site.attribute<int64_t>("axis"));
  const bool exclusive = site.attribute<bool>("exclusive");
  const int64_t outer = extent(shape, 0, axis), length = shape[axis],
                inner = extent(shape, axis + 1, shape.rank());
  const int64_t tiles = (inner + kTile - 1) / kTile;
  const int64_t first = site.attribute<bool>("reverse") ? (length - 1) * inner : 0;
  const int64_t step = site.attribute<bool>("reverse") ? -inner : inner;
  const int64_t grain = grain_of(length * std::min(inner, kTile));
  return {[=, threads = site.threads()](const KernelArgs& args) {
    parallel_for(outer * tiles, grain, threads, [&](int64_t begin, int64_t end) {
      State states[kTile];
      for (int64_t task = begin; task < end; ++task) {
        const int64_t column = task % tiles * kTile, width = std::min(kTile, inner - column);
        const int64_t start = task / tiles * length * inner + column + first;
        const T* x = args.input<T>(0) + start;
        const T* other = args.input<T>(Scan::kInputs - 1) + start;
        T* y = args.output<T>() + start;
        std::fill_n(states, width, State{Scan::kStart});
        for (int64_t i = 0; i < length; ++i, x += step, other += step, y += step)
          for (int64_t c = 0; c < width; ++c) {
            const State before = states[c], after = Scan::next(before, x[c], other[c]);
            y[c] = static_cast<T>(exclusive ? before : after);
            states[c] = after;
          }
      }
    });
  }};
}

template <class Scan, class... T>
void add_scan(KernelRegistry& registry, functors::List<T...>) {
  (registry.add_faster(Scan::op, kCpu, {dtype_of<T>}, make_scan<Scan, T>), ...);
}
template <class... Scan>
void add_scans(KernelRegistry& registry, functors::List<Scan...>) {
  (add_scan<Scan>(registry, typename Scan::Types{}), ...);
}

}  // namespace

void register_scan_kernels(KernelRegistry& registry) { add_scans(registry, functors::Scan{}); }

}  // namespace gradgraph

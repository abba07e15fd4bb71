#include <algorithm>
#include <type_traits>

#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"
#include "device/shared/scans.h"

/// Running sums and products in loops of our own: tiles of columns side by side, row after row;
/// where there is but one column, several rows side by side, so that sums need not wait.
namespace gradgraph {
namespace {

using std::int64_t;

constexpr int64_t kTile = 256;
constexpr int64_t kRowsAtOnce = 8;
/// Of rows that begin a multiple of so many bytes apart the processor takes what it stores of one
/// for what it loads of the others; so they are copied, kBlock elements of each at a time.
constexpr int64_t kAliasBytes = 4096, kBlock = 16;

template <class Scan, class T>
Kernel make_scan(const KernelSite& site) {
  using State = functors::State<T>;
  const Shape& shape = site.input_shape(0);
  const int axis = static_cast<int>(site.attribute<int64_t>("axis"));
  const bool exclusive = site.attribute<bool>("exclusive");
  const int64_t outer = extent(shape, 0, axis), length = shape[axis],
                inner = extent(shape, axis + 1, shape.rank());
  const bool by_rows = inner == 1;
  const int64_t lines = by_rows ? outer : inner;
  // As many rows as leave something for each thread that there is enough to do for.
  const int64_t parts =
      std::clamp<int64_t>(outer / grain_of(length), 1, std::max(site.threads(), 1));
  const int64_t tile = by_rows ? std::clamp<int64_t>(outer / parts, 1, kRowsAtOnce) : kTile;
  const bool by_blocks = length * static_cast<int64_t>(sizeof(T)) % kAliasBytes == 0;
  const int64_t tiles = (lines + tile - 1) / tile;
  const int64_t first = site.attribute<bool>("reverse") ? (length - 1) * inner : 0;
  const int64_t step = site.attribute<bool>("reverse") ? -inner : inner;
  const int64_t grain = grain_of(length * std::min(lines, tile));
  return {[=, threads = site.threads()](const KernelArgs& args) {
    // Of `width` lines that begin `apart` from each other.
    const auto scan = [&](int64_t start, auto width, int64_t apart) {
      State states[kTile];
      std::fill_n(states, width, State{Scan::kStart});
      const T* x = args.input<T>(0) + start;
      const T* other = args.input<T>(Scan::kInputs - 1) + start;
      T* y = args.output<T>() + start;
      for (int64_t i = 0; i < length; ++i, x += step, other += step, y += step)
        for (int64_t c = 0; c < width; ++c) {
          const State before = states[c],
                      after = Scan::next(before, x[c * apart], other[c * apart]);
          y[c * apart] = static_cast<T>(exclusive ? before : after);
          states[c] = after;
        }
    };
    const auto scan_blocks = [&](int64_t start) {
      State states[kRowsAtOnce];
      std::fill_n(states, kRowsAtOnce, State{Scan::kStart});
      const T* x = args.input<T>(0) + start;
      const T* other = args.input<T>(Scan::kInputs - 1) + start;
      T* y = args.output<T>() + start;
      T elements[kBlock][kRowsAtOnce], others[kBlock][kRowsAtOnce];
      for (int64_t i = 0; i < length; i += kBlock) {
        const int64_t count = std::min(kBlock, length - i);
        for (int64_t c = 0; c < kRowsAtOnce; ++c)
          for (int64_t k = 0; k < count; ++k) {
            elements[k][c] = x[c * length + (i + k) * step];
            others[k][c] = other[c * length + (i + k) * step];
          }
        for (int64_t k = 0; k < count; ++k)
          for (int64_t c = 0; c < kRowsAtOnce; ++c) {
            const State before = states[c],
                        after = Scan::next(before, elements[k][c], others[k][c]);
            elements[k][c] = static_cast<T>(exclusive ? before : after);
            states[c] = after;
          }
        for (int64_t c = 0; c < kRowsAtOnce; ++c)
          for (int64_t k = 0; k < count; ++k) y[c * length + (i + k) * step] = elements[k][c];
      }
    };
    parallel_for(
        by_rows ? tiles : outer * tiles, grain, threads, [&](int64_t begin, int64_t end) {
          for (int64_t task = begin; task < end; ++task) {
            const int64_t line = task % tiles * tile, width = std::min(tile, lines - line);
            if (by_rows && width == kRowsAtOnce && by_blocks)
              scan_blocks(line * length + first);
            else if (by_rows && width == kRowsAtOnce)
              scan(line * length + first, std::integral_constant<int64_t, kRowsAtOnce>{}, length);
            else if (by_rows)
              scan(line * length + first, width, length);
            else
              scan(task / tiles * length * inner + line + first, width, int64_t{1});
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

#include "device/shared/movement.h"

#include <optional>
#include <utility>

#include "device/cuda/issue.h"
#include "device/cuda/kernels.h"
#include "device/shared/elements.h"

/// Copies from part to part, and what only renames its input.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

constexpr int kThreads = 256;
/// A tile splits each axis in two.
constexpr int kMaxAxes = 2 * Shape::kMaxRank;
/// Tiles that are turned over in shared memory, a column more so that lanes meet other banks.
constexpr int kTile = 32, kTileRows = 8;

/// The axes of a copy, innermost first.
struct Part {
  int64_t sizes[kMaxAxes] = {}, from[kMaxAxes] = {}, to[kMaxAxes] = {};
  int rank = 0;
  int64_t count = 1, from_offset = 0, to_offset = 0;

  Part(const std::vector<CopyAxis>& axes, int64_t from_offset_, int64_t to_offset_)
      : from_offset(from_offset_), to_offset(to_offset_) {
    for (const CopyAxis& axis : axes) count *= axis.size;
    const std::vector<CopyAxis> joined = joined_axes(axes);
    for (auto axis = joined.rbegin(); axis != joined.rend(); ++axis) append(*axis);
  }

  void append(const CopyAxis& axis) {
    sizes[rank] = axis.size;
    from[rank] = axis.from;
    to[rank++] = axis.to;
  }

  struct Place {
    int64_t from, to;
  };
  __device__ Place place(int64_t index) const {
    Place place{from_offset, to_offset};
    for (int axis = 0; axis < rank; ++axis) {
      const int64_t rest = axis + 1 < rank ? index / sizes[axis] : 0;
      const int64_t at = index - rest * sizes[axis];
      place.from += at * from[axis];
      place.to += at * to[axis];
      index = rest;
    }
    return place;
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads) copy_part(const T* from, T* to, Part part) {
  for (int64_t i = thread_number(); i < part.count; i += num_threads()) {
    const auto place = part.place(i);
    to[place.to] = from[place.from];
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) fill_part(T* to, Part part, T value) {
  for (int64_t i = thread_number(); i < part.count; i += num_threads())
    to[part.place(i).to] = value;
}

/// The two axes that a copy turns over: `across` is contiguous in the source, `along` in the
/// target. What is left is `outer`.
struct Turn {
  Part outer;
  int64_t across, along;          ///< how many
  int64_t across_to, along_from;  ///< steps
};

/// A block for each tile: both sides see neighbours.
template <class T>
__global__ void __launch_bounds__(kTile* kTileRows) turn_part(const T* from, T* to, Turn turn) {
  __shared__ T tile[kTile][kTile + 1];
  const int64_t tiles_across = (turn.across + kTile - 1) / kTile;
  const int64_t tiles = tiles_across * ((turn.along + kTile - 1) / kTile);
  const int lane = static_cast<int>(threadIdx.x), row = static_cast<int>(threadIdx.y);
  for (int64_t task = blockIdx.x; task < tiles * turn.outer.count; task += gridDim.x) {
    const auto place = turn.outer.place(task / tiles);
    const int64_t across = task % tiles % tiles_across * kTile;
    const int64_t along = task % tiles / tiles_across * kTile;
    for (int r = row; r < kTile; r += kTileRows)
      if (across + lane < turn.across && along + r < turn.along)
        tile[r][lane] = from[place.from + across + lane + (along + r) * turn.along_from];
    __syncthreads();
    for (int r = row; r < kTile; r += kTileRows)
      if (along + lane < turn.along && across + r < turn.across)
        to[place.to + along + lane + (across + r) * turn.across_to] = tile[lane][r];
    __syncthreads();
  }
}

/// The turn that a part is, if it is one that is worth it.
std::optional<Turn> as_turn(const Part& part) {
  if (part.rank < 2 || part.to[0] != 1 || part.from[0] <= 1 || part.sizes[0] < kTile / 2)
    return std::nullopt;
  for (int axis = 1; axis < part.rank; ++axis) {
    if (part.from[axis] != 1 || part.sizes[axis] < kTile / 2) continue;
    Turn turn{Part({}, part.from_offset, part.to_offset), part.sizes[axis], part.sizes[0],
              part.to[axis], part.from[0]};
    for (int other = 1; other < part.rank; ++other)
      if (other != axis) turn.outer.append({part.sizes[other], part.from[other], part.to[other]});
    for (int i = 0; i < turn.outer.rank; ++i) turn.outer.count *= turn.outer.sizes[i];
    return turn;
  }
  return std::nullopt;
}

Copy make_copy(const std::vector<CopyAxis>& axes, int64_t from_offset, int64_t to_offset,
               DType dtype, int) {
  const Part part(axes, from_offset, to_offset);
  if (part.count == 0) return [](const KernelArgs&, const void*, void*) {};
  return dispatch_size(dtype, [&]<class T>() -> Copy {
    if (const std::optional<Turn> turn = as_turn(part)) {
      const int64_t tiles = (turn->across + kTile - 1) / kTile *
                            ((turn->along + kTile - 1) / kTile) * turn->outer.count;
      return [turn = *turn, tiles](const KernelArgs& args, const void* from, void* to) {
        issue(args, turn_part<T>, blocks_for(tiles, 1), dim3(kTile, kTileRows), 0,
              static_cast<const T*>(from), static_cast<T*>(to), turn);
      };
    }
    return [part](const KernelArgs& args, const void* from, void* to) {
      issue(args, copy_part<T>, blocks_for(part.count, kThreads), kThreads, 0,
            static_cast<const T*>(from), static_cast<T*>(to), part);
    };
  });
}

Fill make_fill(const std::vector<CopyAxis>& axes, int64_t to_offset, std::uint64_t value,
               DType dtype, int) {
  std::vector<CopyAxis> repeating = axes;
  for (CopyAxis& axis : repeating) axis.from = 0;
  const Part part(repeating, 0, to_offset);
  if (part.count == 0) return [](const KernelArgs&, void*) {};
  return dispatch_size(dtype, [&]<class T>() -> Fill {
    return [part, value](const KernelArgs& args, void* to) {
      issue(args, fill_part<T>, blocks_for(part.count, kThreads), kThreads, 0,
            static_cast<T*>(to), part, static_cast<T>(value));
    };
  });
}

/// For ops that rename: output i is input i's bytes. A plan rarely runs them.
Kernel make_rename(const KernelSite& site) {
  std::vector<std::size_t> bytes;
  for (int i = 0; i < site.node().num_outputs(); ++i) bytes.push_back(output_bytes(site, i));
  return {[bytes](const KernelArgs& args) {
    for (std::size_t i = 0; i < bytes.size(); ++i)
      stream_of(args).copy(args.outputs[i], args.inputs[i], bytes[i], CopyKind::within);
  }};
}

Kernel make_shape_of(const KernelSite& site) {
  std::vector<Fill> fills;
  for (int axis = 0; axis < site.input_shape(0).rank(); ++axis)
    fills.push_back(
        make_fill({}, axis, static_cast<std::uint64_t>(site.input_shape(0)[axis]), int64, 1));
  return {[fills](const KernelArgs& args) {
    for (const Fill& fill : fills) fill(args, args.outputs[0]);
  }};
}

}  // namespace

void register_movement_kernels(KernelRegistry& registry) {
  add_movement_kernels({make_copy, make_fill},
                       [&](std::string_view op, KernelRegistry::Make make) {
                         registry.add(op, kCuda, kAllDTypes, std::move(make));
                       });
  for (const char* op : {"reshape", "flatten", "expand_dims", "squeeze", "identity",
                         "stop_gradient", "custom_gradient"})
    registry.add(op, kCuda, kAllDTypes, make_rename);
  registry.add("shape_of", kCuda, kAllDTypes, make_shape_of);
}

}  // namespace gradgraph::cuda

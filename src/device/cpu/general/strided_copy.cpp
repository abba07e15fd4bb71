#include "device/cpu/general/strided_copy.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"

namespace gradgraph {
namespace {

/// Columns of the source that are turned over together, whole cache lines of most elements.
constexpr std::int64_t kBlock = 16;
/// Rows and columns of a square that is turned over in registers.
constexpr std::int64_t kSquare = 4;
/// A tile splits each axis in two.
constexpr std::size_t kMaxAxes = 2 * Shape::kMaxRank;

/// Walks the outer axes in order, keeping both offsets.
class Odometer {
 public:
  Odometer(const std::vector<CopyAxis>& axes, std::int64_t row) : axes_(axes) {
    for (std::size_t i = axes.size(); i-- > 0;) {
      at_[i] = row % axes[i].size;
      row /= axes[i].size;
      from += at_[i] * axes[i].from;
      to += at_[i] * axes[i].to;
    }
  }
  void next() {
    for (std::size_t i = axes_.size(); i-- > 0;) {
      from += axes_[i].from;
      to += axes_[i].to;
      if (++at_[i] < axes_[i].size) return;
      from -= axes_[i].from * at_[i];
      to -= axes_[i].to * at_[i];
      at_[i] = 0;
    }
  }

  std::int64_t from = 0, to = 0;

 private:
  const std::vector<CopyAxis>& axes_;
  std::array<std::int64_t, kMaxAxes> at_{};
};

template <class T>
void copy_run(const T* from, T* to, const CopyAxis& axis, std::int64_t count) {
  if (axis.to == 1 && axis.from == 1)
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
  else if (axis.to == 1 && axis.from == 0)
    std::fill_n(to, count, *from);
  else
    for (std::int64_t i = 0; i < count; ++i) to[i * axis.to] = from[i * axis.from];
}

/// Columns of a square of the source become rows, `to_step` apart. Compilers make vectors of it.
template <class T>
void turn_square(const T* from, std::int64_t from_step, T* to, std::int64_t to_step) {
  T square[kSquare][kSquare];
  for (std::int64_t j = 0; j < kSquare; ++j)
    for (std::int64_t i = 0; i < kSquare; ++i) square[i][j] = from[j * from_step + i];
  for (std::int64_t i = 0; i < kSquare; ++i)
    for (std::int64_t j = 0; j < kSquare; ++j) to[i * to_step + j] = square[i][j];
}

class StridedCopy {
 public:
  StridedCopy(const std::vector<CopyAxis>& axes, std::int64_t from_offset, std::int64_t to_offset,
              DType dtype, int threads);

  void operator()(const KernelArgs&, const void* from, void* to) const {
    if (total_ > 0) run_(*this, from, to);
  }

 private:
  template <class T>
  static void run(const StridedCopy& copy, const void* from, void* to);
  template <class T>
  void copy_runs(const T* from, T* to, std::int64_t begin, std::int64_t end) const;
  template <class T>
  void copy_blocks(const T* from, T* to, std::int64_t begin, std::int64_t end) const;

  std::vector<CopyAxis> outer_;
  CopyAxis inner_;
  CopyAxis across_;  ///< contiguous in the source; size 0 where runs are copied
  std::int64_t total_ = 1;
  std::int64_t from_offset_, to_offset_;
  int threads_;
  void (*run_)(const StridedCopy&, const void*, void*) = nullptr;
};

StridedCopy::StridedCopy(const std::vector<CopyAxis>& axes, std::int64_t from_offset,
                         std::int64_t to_offset, DType dtype, int threads)
    : outer_(joined_axes(axes)),
      from_offset_(from_offset),
      to_offset_(to_offset),
      threads_(threads) {
  for (const CopyAxis& axis : axes) total_ *= axis.size;
  if (outer_.empty()) outer_.push_back({1, 1, 1});
  inner_ = outer_.back();
  outer_.pop_back();
  const auto turned = std::find_if(outer_.begin(), outer_.end(),
                                   [](const CopyAxis& axis) { return axis.from == 1; });
  if (turned != outer_.end() && inner_.from > 1) {
    across_ = *turned;
    outer_.erase(turned);
  } else {
    across_.size = 0;
  }
  run_ = dispatch_size(dtype, []<class T>() { return &StridedCopy::run<T>; });
}

template <class T>
void StridedCopy::copy_runs(const T* from, T* to, std::int64_t begin, std::int64_t end) const {
  Odometer at(outer_, begin / inner_.size);
  std::int64_t first = begin % inner_.size;
  while (begin < end) {
    const std::int64_t count = std::min(inner_.size - first, end - begin);
    copy_run(from + at.from + first * inner_.from, to + at.to + first * inner_.to, inner_, count);
    begin += count;
    first = 0;
    at.next();
  }
}

/// `begin` and `end` count bands of kBlock steps of `across_`.
template <class T>
void StridedCopy::copy_blocks(const T* from, T* to, std::int64_t begin, std::int64_t end) const {
  const std::int64_t bands = (across_.size + kBlock - 1) / kBlock;
  Odometer at(outer_, begin / bands);
  for (std::int64_t band = begin; band < end; ++band) {
    const std::int64_t row = band % bands * kBlock;
    const std::int64_t rows = std::min(kBlock, across_.size - row);
    const T* source = from + at.from + row;
    T* target = to + at.to + row * across_.to;
    const auto turn = [&](std::int64_t first_row, std::int64_t column, std::int64_t last) {
      for (std::int64_t i = first_row; i < rows; ++i)
        for (std::int64_t j = column; j < last; ++j)
          target[i * across_.to + j * inner_.to] = source[i + j * inner_.from];
    };
    const std::int64_t square_rows = inner_.to == 1 ? rows / kSquare * kSquare : 0;
    std::int64_t column = 0;
    for (; column + kSquare <= inner_.size; column += kSquare) {
      for (std::int64_t i = 0; i < square_rows; i += kSquare)
        turn_square(source + i + column * inner_.from, inner_.from,
                    target + i * across_.to + column, across_.to);
      turn(square_rows, column, column + kSquare);
    }
    turn(0, column, inner_.size);
    if (band % bands == bands - 1) at.next();
  }
}

template <class T>
void StridedCopy::run(const StridedCopy& copy, const void* from, void* to) {
  const T* source = static_cast<const T*>(from) + copy.from_offset_;
  T* target = static_cast<T*>(to) + copy.to_offset_;
  if (copy.across_.size == 0) {
    parallel_for(copy.total_, kParallelGrain, copy.threads_,
                 [&](std::int64_t begin, std::int64_t end) {
                   copy.copy_runs(source, target, begin, end);
                 });
    return;
  }
  const std::int64_t bands = (copy.across_.size + kBlock - 1) / kBlock;
  const std::int64_t rows = copy.total_ / (copy.across_.size * copy.inner_.size);
  parallel_for(rows * bands, grain_of(kBlock * copy.inner_.size), copy.threads_,
               [&](std::int64_t begin, std::int64_t end) {
                 copy.copy_blocks(source, target, begin, end);
               });
}

/// A copy of one element to all.
template <auto kCopy>
Fill fill_by(const std::vector<CopyAxis>& axes, std::int64_t to_offset, std::uint64_t value,
             DType dtype, int threads) {
  std::vector<CopyAxis> repeating = axes;
  for (CopyAxis& axis : repeating) axis.from = 0;
  return [copy = kCopy(repeating, 0, to_offset, dtype, threads), value](
             const KernelArgs& args, void* to) { copy(args, &value, to); };
}

}  // namespace

Copy loop_copy(const std::vector<CopyAxis>& axes, std::int64_t from_offset,
               std::int64_t to_offset, DType dtype, int threads) {
  return StridedCopy(axes, from_offset, to_offset, dtype, threads);
}

void register_movement_kernels(KernelRegistry& registry) {
  add_movement_kernels({view_copy, fill_by<view_copy>},
                       [&](std::string_view op, KernelRegistry::Make make) {
                         registry.add(op, kCpu, kAllDTypes, std::move(make));
                       });
  add_movement_kernels({loop_copy, fill_by<loop_copy>},
                       [&](std::string_view op, KernelRegistry::Make make) {
                         registry.add_faster(op, kCpu, kAllDTypes, std::move(make));
                       });
}

}  // namespace gradgraph

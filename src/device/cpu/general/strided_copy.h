#pragma once

#include <cstdint>
#include <vector>

#include "device/kernel.h"

namespace gradgraph {

/// One axis of a copy: its extent, and how many elements apart its steps are in source and
/// target. A step of 0 in the source repeats.
struct CopyAxis {
  std::int64_t size = 1, from = 0, to = 0;
};

/// The distance between steps of each axis of a contiguous `shape`.
std::vector<std::int64_t> contiguous_strides(const Shape& shape);

/// Copies a strided part of one buffer to a strided part of another: what transposes, slices,
/// concatenations, paddings, tiles and broadcasts come down to. Axes that move together are
/// joined ahead; a copy that changes which axis is innermost goes block by block.
class StridedCopy {
 public:
  /// `axes` outermost first; offsets in elements.
  StridedCopy(const std::vector<CopyAxis>& axes, std::int64_t from_offset, std::int64_t to_offset,
              DType dtype, int threads);

  void operator()(const void* from, void* to) const {
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

}  // namespace gradgraph

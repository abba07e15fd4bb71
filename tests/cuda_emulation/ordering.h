#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cuda_emulation/emulation.h"

namespace cuda_emulation {

/// A vector clock (Mattern 1989): of every stream, how much of its work is known to have run
/// before something else.
class Clock {
 public:
  std::uint64_t of(std::size_t stream) const {
    return stream < counts_.size() ? counts_[stream] : 0;
  }
  /// One more piece of the stream's work; returns its number.
  std::uint64_t tick(std::size_t stream) {
    if (stream >= counts_.size()) counts_.resize(stream + 1);
    return ++counts_[stream];
  }
  void join(const Clock& other) {
    if (counts_.size() < other.counts_.size()) counts_.resize(other.counts_.size());
    for (std::size_t i = 0; i < other.counts_.size(); ++i)
      counts_[i] = std::max(counts_[i], other.counts_[i]);
  }

 private:
  std::vector<std::uint64_t> counts_;
};

/// A piece of work among all: a stream's count-th, and a node of the graph that was launched.
struct Stamp {
  std::size_t stream = 0;
  std::uint64_t count = 0;
  std::size_t node = 0;
};

/// What an OperandScope says of its work; `fresh` of the first piece alone.
struct Operands {
  std::shared_ptr<const std::vector<Range>> allowed = nullptr;  ///< null: everything
  std::vector<Range> fresh = {};
};

/// A piece of work that runs, and what is known to have run before.
struct Task {
  Stamp stamp;
  const Clock* before = nullptr;
  const std::vector<bool>* nodes_before = nullptr;  ///< of the same launch of a graph

  bool is_after(const Stamp& other) const {
    if (other.stream == stamp.stream && other.count == stamp.count)
      return nodes_before && (*nodes_before)[other.node];
    return before->of(other.stream) >= other.count;
  }
};

}  // namespace cuda_emulation

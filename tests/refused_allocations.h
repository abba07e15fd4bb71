#pragma once

namespace gradgraph::tests {

/// In its scope the `n`-th allocation by operator new (counted from 1) of the calling thread is
/// refused, as where there is no memory.
class RefusedAllocation {
 public:
  explicit RefusedAllocation(int n);
  ~RefusedAllocation();
  RefusedAllocation(const RefusedAllocation&) = delete;
  RefusedAllocation& operator=(const RefusedAllocation&) = delete;
  /// Ends the scope's effect early; whether there were as many as `n`.
  bool end();
};

}  // namespace gradgraph::tests

#pragma once

#include <memory>
#include <utility>

#include "gradgraph/api.h"

namespace gradgraph GRADGRAPH_API {

/// Throws RunError.
[[noreturn]] void fail_empty();

/// What a class hides, as std::unique_ptr holds it; but to ask an object for what it has not,
/// since it was moved from or never given a value, is a RunError.
template <class T>
class Inside : public std::unique_ptr<T> {
 public:
  Inside() = default;
  Inside(std::unique_ptr<T> inside)  // NOLINT: implicit
      : std::unique_ptr<T>(std::move(inside)) {}

  T& operator*() const {
    if (!this->get()) fail_empty();
    return *this->get();
  }
  T* operator->() const { return &**this; }
};

}  // namespace gradgraph

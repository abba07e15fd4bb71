#pragma once

#include <concepts>
#include <cstddef>

namespace gradgraph {

/// An index of ours, which is signed, as the standard library's containers want it.
constexpr std::size_t at(std::integral auto index) { return static_cast<std::size_t>(index); }

/// Bytes of so many elements.
template <class T>
constexpr std::size_t bytes_of(std::integral auto elements) {
  return at(elements) * sizeof(T);
}

}  // namespace gradgraph

#pragma once

#include <concepts>
#include <cstddef>

namespace gradgraph {

/// An index of ours, which is signed, as the standard library's containers want it.
constexpr std::size_t at(std::integral auto index) { return static_cast<std::size_t>(index); }

}  // namespace gradgraph

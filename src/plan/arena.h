#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace gradgraph {

/// Memory that is needed from step `first` to step `last`.
struct Lifetime {
  std::size_t bytes = 0;
  std::int32_t first = 0, last = 0;
  std::size_t offset = 0;
};

inline constexpr std::size_t kArenaAlignment = 64;

/// `bytes` as an arena gives them out.
constexpr std::size_t rounded(std::size_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

/// Gives every lifetime, in order of first steps, an offset in one arena so that no two overlap
/// that live at once. Returns the arena's size. Throws BuildError when the sum of all would wrap.
std::size_t pack(std::span<Lifetime> lifetimes);

/// The same for few lifetimes, where `share(a, b)` says, by their numbers, which two may overlap
/// in memory. Takes quadratic time.
inline constexpr std::size_t kMostPackedAnyhow = 4096;
std::size_t pack(std::span<Lifetime> lifetimes,
                 const std::function<bool(std::size_t, std::size_t)>& share);

}  // namespace gradgraph

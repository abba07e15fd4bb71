#pragma once

#include <cstdint>

namespace gradgraph {

/// Blocks of random words that are made side by side, so that compilers find vectors in them.
inline constexpr std::int64_t kWordBlocks = 64;

/// Fills `words` with the philox() of kWordBlocks counters of `step`, from number `first` on.
using RandomWords = void (*)(std::uint64_t key, std::int64_t step, std::int64_t first,
                             std::uint32_t* words);

/// In the fastest form that this processor runs.
RandomWords best_random_words();

}  // namespace gradgraph

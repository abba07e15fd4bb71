#pragma once

#include <cstdint>
#include <span>

namespace gradgraph::data {

/// Fills `order` with 0, 1, ... and shuffles it, as Batches says.
void shuffle(std::span<std::int64_t> order, std::uint64_t seed, std::int64_t epoch);

}  // namespace gradgraph::data

#pragma once

#include "device/cpu/random_words.h"
#include "device/philox.h"

/// Included by one file per level of the instruction set, as rows_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

inline void random_words(std::uint64_t key, std::int64_t step, std::int64_t first,
                         std::uint32_t* __restrict words) {
  std::uint32_t a[kWordBlocks], b[kWordBlocks], c[kWordBlocks], d[kWordBlocks];
  for (std::int64_t i = 0; i < kWordBlocks; ++i) {
    const PhiloxBlock counter = philox_counter(step, first + i);
    a[i] = counter.word[0], b[i] = counter.word[1];
    c[i] = counter.word[2], d[i] = counter.word[3];
  }
  for (int round = 0; round < kPhiloxRounds; ++round, key = philox_next_key(key))
    for (std::int64_t i = 0; i < kWordBlocks; ++i) {
      const PhiloxBlock next = philox_round({{a[i], b[i], c[i], d[i]}}, key);
      a[i] = next.word[0], b[i] = next.word[1], c[i] = next.word[2], d[i] = next.word[3];
    }
  for (std::int64_t i = 0; i < kWordBlocks; ++i) {
    words[4 * i] = a[i], words[4 * i + 1] = b[i];
    words[4 * i + 2] = c[i], words[4 * i + 3] = d[i];
  }
}

}  // namespace gradgraph::GRADGRAPH_ISA

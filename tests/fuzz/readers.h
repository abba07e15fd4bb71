#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace gradgraph::tests {

/// What reads a file, and throws a DataError for one that it does not like.
struct FuzzedReader {
  const char* name;  ///< also of its folder in tests/fuzz/corpus
  void (*read)(const std::filesystem::path& path);
};
/// All that read what others wrote.
std::span<const FuzzedReader> fuzzed_readers();

/// Gives the reader a file of these bytes. Lets through whatever is no DataError.
void read_bytes(const FuzzedReader& reader, const std::uint8_t* bytes, std::size_t size);

}  // namespace gradgraph::tests

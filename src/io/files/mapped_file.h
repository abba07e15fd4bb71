#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace gradgraph {

/// A regular file in memory, to be read. Nobody may make it shorter meanwhile.
class MappedFile {
 public:
  /// Throws DataError.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {static_cast<std::byte*>(memory_), bytes_}; }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace gradgraph

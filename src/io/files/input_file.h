#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "io/files/byte_source.h"

namespace gradgraph {

/// Throws DataError "path: fault".
[[noreturn]] void fail_file(const std::filesystem::path& path, std::string_view fault);

/// The size of a file that must be there and be a regular one; DataError otherwise.
std::uint64_t size_of_file(const std::filesystem::path& path);

/// A file that may be compressed by gzip. Offsets count decompressed bytes.
class InputFile final : public ByteSource {
 public:
  explicit InputFile(std::filesystem::path path);
  ~InputFile() override;

  std::size_t read(void* to, std::size_t bytes) override;
  std::uint64_t most_bytes() override;
  [[noreturn]] void fail(std::string_view fault) const { fail_file(path_, fault); }

  /// All that is left, which takes memory as it comes.
  std::string read_all();
  bool compressed();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::string message_at(std::uint64_t offset, std::string_view fault) const override;
  [[noreturn]] void fail_reading() const;

  const std::filesystem::path path_;
  gzFile file_ = nullptr;
  std::uint64_t stored_bytes_ = 0;
};

}  // namespace gradgraph

#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace gradgraph {

/// A file while it is being written, in a place of its own, which goes away again unless `commit`
/// was called. Errors are DataErrors with the path and what the system says.
class OutputFile {
 public:
  /// Writes to "<path>.<process>.tmp".
  explicit OutputFile(std::filesystem::path path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  void write(const void* data, std::size_t bytes);
  /// Brings all of it to the disk, then moves it to its path, in one step.
  void commit();

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

/// Brings names in the folder to the disk. Throws DataError.
void synchronize_folder(const std::filesystem::path& folder);

/// "<path>: <what>: <what the system says of `code`>", as a DataError.
[[noreturn]] void fail_system(const std::filesystem::path& path, std::string what, int code);

}  // namespace gradgraph

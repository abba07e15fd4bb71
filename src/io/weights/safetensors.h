#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "gradgraph/weights.h"
#include "io/files/mapped_file.h"
#include "io/weights/safetensors_header.h"

namespace gradgraph {

/// A safetensors file that is open to be read.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const SafetensorsHeader& header() const { return header_; }
  /// A copy. Throws DataError for elements that no DType holds, and booleans beside 0 and 1.
  Tensor read(const StoredTensor& tensor) const;
  /// All before the first tensor's.
  std::span<const std::byte> header_bytes() const {
    return file_.bytes().first(header_.data_begin);
  }
  /// Its bytes as they are stored.
  std::span<const std::byte> bytes_of(const StoredTensor& tensor) const;

 private:
  std::string path_;
  MappedFile file_;
  SafetensorsHeader header_;
};

/// How `tensors` are stored, in the order in which they are: larger elements first. Throws
/// BuildError for what cannot be stored.
std::vector<std::size_t> safetensors_order(const std::vector<NamedTensor>& tensors,
                                           std::vector<StoredTensor>& stored,
                                           SourceLocation where);

}  // namespace gradgraph

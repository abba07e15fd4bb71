#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gradgraph/checkpoint.h"
#include "io/files/at_line.h"

namespace gradgraph {

/// A variable as a checkpoint tells of it.
struct SavedVariable {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> dims;
  std::optional<std::uint32_t> checksum;  ///< CRC-32 of its elements; none without a value

  /// "float32[3,4]".
  std::string type() const;
};

/// What a checkpoint says of itself.
struct Manifest {
  std::int64_t number = 0;  ///< counts a folder's checkpoints in the order of their writing
  std::string program;
  std::string written;  ///< "2026-11-26T14:30:00Z"
  std::int64_t step = 0;
  std::uint64_t seed = 0;  ///< of the session
  std::vector<SavedVariable> variables;
  std::uint64_t file_bytes = 0;  ///< of the file of variables
  std::uint32_t header_checksum = 0;
  TrainingProgress progress;
};

/// A manifest that a later version of this library wrote.
struct LaterFormat : InternalDataError {
  using InternalDataError::InternalDataError;
};

/// JSON, with a checksum of itself. Throws BuildError for texts that are no UTF-8.
std::string to_text(const Manifest& manifest, SourceLocation where = {});
/// The other way; `path` is for messages. Throws DataError for whatever `to_text` does not give.
Manifest parse_manifest(const std::string& text, const std::string& path);

/// A line for each difference.
std::vector<std::string> differences(const std::vector<SavedVariable>& saved,
                                     const std::vector<SavedVariable>& wanted);

std::uint32_t checksum(const void* data, std::size_t bytes);

/// "2026-11-26T14:30:00Z".
std::string now_in_words();

}  // namespace gradgraph

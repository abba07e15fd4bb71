#pragma once

#include <filesystem>
#include <fstream>

#include "gradgraph/training.h"

namespace gradgraph::training {

/// A file of JSON lines, complete up to the last line at any time.
class MetricsFile {
 public:
  /// An empty path writes nothing. Of a file that is there, the lines of the first `epoch` - 1
  /// epochs and of `batches` batches of that one stay: what comes after them is trained again.
  /// Throws DataError when the file cannot be written.
  MetricsFile(const std::filesystem::path& path, std::int64_t epoch, std::int64_t batches,
              SourceLocation where);
  /// {"epoch": 1, "batch": 469, "loss": 0.25, ...}; what is not finite is null.
  void write(const TrainingLog& log, SourceLocation where);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace gradgraph::training

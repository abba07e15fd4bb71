#pragma once

#include <filesystem>
#include <fstream>

#include "gradgraph/training.h"

namespace gradgraph::training {

/// A file of JSON lines, complete up to the last line at any time.
class MetricsFile {
 public:
  /// An empty path writes nothing. Throws DataError when the file cannot be written.
  MetricsFile(const std::filesystem::path& path, bool appends);
  /// {"epoch": 1, "batch": 469, "loss": 0.25, ...}; what is not finite is null.
  void write(const TrainingLog& log);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace gradgraph::training

#pragma once

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <utility>

namespace examples {

/// A file of JSON lines, complete up to the last line at any time.
class MetricsFile {
 public:
  /// An empty path writes nothing. Throws gradgraph::DataError when the file cannot be written.
  explicit MetricsFile(const std::filesystem::path& path);
  /// {"epoch": 1, "loss": 0.25}: numbers as short as they can be read back exactly.
  void write(std::initializer_list<std::pair<const char*, double>> numbers);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace examples

#include "common/metrics.h"

#include <array>
#include <charconv>
#include <cmath>
#include <system_error>

#include "gradgraph/error.h"

namespace examples {
namespace {

std::string json(double number) {
  if (!std::isfinite(number)) return "null";  // JSON has no NaN
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  return {text.data(), end};
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path) : path_(path) {
  if (path_.empty()) return;
  file_.open(path_, std::ios::trunc);
  if (!file_) throw gradgraph::DataError("cannot write " + path_.string());
}

void MetricsFile::write(std::initializer_list<std::pair<const char*, double>> numbers) {
  if (path_.empty()) return;
  std::string line;
  for (const auto& [name, number] : numbers)
    line += std::string(line.empty() ? "{" : ", ") + '"' + name + "\": " + json(number);
  file_ << line << "}\n" << std::flush;
  if (!file_) throw gradgraph::DataError("cannot write " + path_.string());
}

}  // namespace examples

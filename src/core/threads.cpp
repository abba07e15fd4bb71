#include "core/threads.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

#include "core/text.h"

namespace gradgraph {
namespace {

namespace fs = std::filesystem;

/// Of one group; 0 where it has no limit of its own.
double quota_of(const fs::path& group, bool version2) {
  double quota = 0, period = 0;
  if (version2) {
    std::ifstream(group / "cpu.max") >> quota >> period;  // "max 100000" is no number
  } else {
    std::ifstream(group / "cpu.cfs_quota_us") >> quota;  // -1 for none
    std::ifstream(group / "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

}  // namespace

double processor_quota(const fs::path& groups, const fs::path& membership) {
  double least = 0;
  std::ifstream lines(membership);
  // "0::/user.slice/app" of version 2, "4:cpu,cpuacct:/app" of version 1.
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers =
        fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const bool version2 = controllers == ",,";
    if (!version2 && controllers.find(",cpu,") == std::string::npos) continue;
    const fs::path root = version2 ? groups : groups / "cpu";
    // A group's limit is one of all below it. In a container the path may be the host's, of
    // which nothing is seen but the root.
    for (fs::path path = line.substr(second + 1);; path = path.parent_path()) {
      const double quota = quota_of(root / path.relative_path(), version2);
      if (quota > 0 && (least == 0 || quota < least)) least = quota;
      if (!path.has_relative_path()) break;
    }
  }
  return least;
}

int thread_count(int requested) {
  if (requested > 0) return requested;
  static const int available = [] {
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    const double quota = processor_quota();
    return quota > 0 ? std::clamp(static_cast<int>(std::ceil(quota)), 1, cores) : cores;
  }();
  return available;
}

}  // namespace gradgraph

#pragma once

#include <filesystem>

namespace gradgraph {

/// More than these nobody may ask for: kernels take work memory for each of them.
inline constexpr int kMaxThreads = 4096;
/// `requested`, or for 0 all cores that the process may use: those it is bound to, or fewer where
/// its container or service has a quota of processor time.
int thread_count(int requested);

/// The processors whose time the process may use up, by the limits of its control groups (version
/// 2 or 1); 0 where there is no limit. `groups` is where these are mounted, `membership` the file
/// that names the process's own, as Linux has them.
double processor_quota(const std::filesystem::path& groups = "/sys/fs/cgroup",
                       const std::filesystem::path& membership = "/proc/self/cgroup");

}  // namespace gradgraph

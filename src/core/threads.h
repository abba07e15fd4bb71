#pragma once

namespace gradgraph {

/// More than these nobody may ask for: kernels take work memory for each of them.
inline constexpr int kMaxThreads = 4096;
/// `requested`, or all cores for 0.
int thread_count(int requested);

}  // namespace gradgraph

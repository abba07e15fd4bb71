#include "core/threads.h"

#include <algorithm>
#include <thread>

namespace gradgraph {

int thread_count(int requested) {
  if (requested > 0) return requested;
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace gradgraph

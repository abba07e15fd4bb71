#pragma once

#include <cstdint>

namespace gradgraph::cuda {

/// The first value that a kernel of a stream refused, as kernels note it: once in the device's
/// memory, which later updates look at, and once in the host's, which `Stream::check` looks at.
struct Refused {
  unsigned long long launch = 0;  ///< the Launch's address; 0 where nothing was refused
  const char* message = nullptr;  ///< a text of the host; null for an index out of range
  std::int64_t index = 0, number = 0, size = 0;  ///< "index 7 (number 2) is outside [0,5)"
};

/// What a kernel that may refuse values is given.
struct RefusalSlot {
  Refused* device = nullptr;
  Refused* host = nullptr;  ///< the host's memory, which the device can write
  unsigned long long launch = 0;
};

}  // namespace gradgraph::cuda

#pragma once

#include <cstdint>

#include "device/device.h"

namespace gradgraph::cuda {

/// The first value that a kernel of a step refused, as kernels note it in the host's memory, for
/// `Stream::check`.
struct Refused {
  unsigned long long launch = 0;  ///< the Launch's address; 0 where nothing was refused
  const char* message = nullptr;  ///< a text of the host; null for an index out of range
  std::int64_t index = 0, number = 0, size = 0;  ///< "index 7 (number 2) is outside [0,5)"
};

/// The same in the device's memory, for updates.
struct Refusals {
  unsigned long long launches[kRefusingSteps] = {};
  unsigned earliest = 0;  ///< the rank of the earliest step; 0 where nothing was refused
};
/// Of steps that are recorded together earlier ones have higher ranks.
inline unsigned rank_of(std::int32_t step) { return 0x7fffffffU - static_cast<unsigned>(step); }

/// What a kernel that may refuse values is given.
struct RefusalSlot {
  unsigned long long* first = nullptr;
  unsigned* earliest = nullptr;
  Refused* host = nullptr;  ///< the host's memory, which the device can write
  unsigned long long launch = 0;
  unsigned rank = 0;
};

/// What an update is given, which must do nothing once its step or an earlier one was refused.
struct Stopper {
  const unsigned* earliest = nullptr;  ///< null for other launches
  unsigned rank = ~0U;
};

}  // namespace gradgraph::cuda

#pragma once

#include <cstdint>

#include "core/text.h"
#include "device/kernel.h"

namespace gradgraph {

/// What kernels on all devices say of an index that is outside [0,size).
inline KernelError index_error(std::int64_t index, std::int64_t number, std::int64_t size) {
  return KernelError(fmt::format("index {} (number {}) is outside [0,{})", index, number, size));
}

}  // namespace gradgraph

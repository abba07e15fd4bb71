#pragma once

#include <bit>
#include <cstdint>

#include "device/shared/host_device.h"

namespace gradgraph::cuda {

/// Divides what is not negative by a number that only the host knows, without a division.
class FastDivisor {
 public:
  FastDivisor() : FastDivisor(1) {}
  explicit FastDivisor(int divisor)
      : divisor_(divisor),
        shift_(31 + static_cast<int>(std::bit_width(static_cast<unsigned>(divisor - 1)))),
        factor_(static_cast<std::uint32_t>(
            ((std::uint64_t{1} << shift_) + static_cast<unsigned>(divisor) - 1) /
            static_cast<unsigned>(divisor))) {}

  int divisor() const { return divisor_; }

  struct Parts {
    int quotient, remainder;
  };
  HOST_DEVICE Parts operator()(int number) const {
    const auto quotient = static_cast<int>(
        (static_cast<std::uint64_t>(static_cast<unsigned>(number)) * factor_) >> shift_);
    return {quotient, number - quotient * divisor_};
  }

 private:
  int divisor_, shift_;
  std::uint32_t factor_;
};

}  // namespace gradgraph::cuda

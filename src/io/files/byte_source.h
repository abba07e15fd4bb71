#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gradgraph/error.h"

namespace gradgraph {

/// Bytes that are read front to back, by readers that trust none of them.
class ByteSource {
 public:
  ByteSource() = default;
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  /// Reads up to `bytes`; fewer only at the end. Throws DataError where they cannot be read.
  virtual std::size_t read(void* to, std::size_t bytes) = 0;
  /// No more bytes can come in all, whatever is said inside: so much memory may be taken.
  virtual std::uint64_t most_bytes() = 0;
  /// Throws a DataError that names the source, the fault, and its offset in what was read.
  [[noreturn]] void fail_at(std::uint64_t offset, std::string_view fault) const {
    throw DataError(message_at(offset, fault));
  }

 private:
  virtual std::string message_at(std::uint64_t offset, std::string_view fault) const = 0;
};

}  // namespace gradgraph

#include "core/checked.h"

#include "core/text.h"

namespace gradgraph {

void fail_size(std::string_view operation, std::string a, std::string b) {
  throw BuildError(fmt::format("a size of {} {} {} is too large", a, operation, b));
}

std::int64_t spanned_bytes(DType dtype, const Shape& shape) {
  auto bytes = static_cast<std::int64_t>(size_of(dtype));
  for (const std::int64_t dim : shape)
    if (dim > 0 && __builtin_mul_overflow(bytes, dim, &bytes))
      throw BuildError(fmt::format("{}{} has too many elements", dtype, shape));
  return bytes;
}

}  // namespace gradgraph

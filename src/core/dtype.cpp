#include "gradgraph/dtype.h"

#include <array>
#include <ostream>

namespace gradgraph {
namespace {

struct Entry {
  std::string_view name;
  std::size_t size;
};
constexpr std::array<Entry, kDTypes> kEntries = {{{"float32", 4},
                                                  {"float64", 8},
                                                  {"int32", 4},
                                                  {"int64", 8},
                                                  {"uint8", 1},
                                                  {"bool", 1},
                                                  {"float16", 2},
                                                  {"bfloat16", 2}}};

}  // namespace

std::string_view name(DType dtype) { return kEntries[static_cast<std::size_t>(dtype)].name; }
std::size_t size_of(DType dtype) { return kEntries[static_cast<std::size_t>(dtype)].size; }
std::ostream& operator<<(std::ostream& stream, DType dtype) { return stream << name(dtype); }

}  // namespace gradgraph

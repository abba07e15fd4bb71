#pragma once

#include "gradgraph/api.h"

namespace gradgraph GRADGRAPH_API {

/// Where in the user's program a node was asked for.
///
/// The same thing as std::source_location, which clang 14 lacks; one type for every compiler
/// also keeps the library's symbols the same for all of them.
struct SourceLocation {
  const char* file = "";
  unsigned line = 0;

  static constexpr SourceLocation current(const char* file = __builtin_FILE(),
                                          unsigned line = __builtin_LINE()) {
    return {file, line};
  }
  constexpr bool known() const { return line != 0; }
};

}  // namespace gradgraph

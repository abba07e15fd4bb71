#pragma once

#include "gradgraph/error.h"

namespace gradgraph {

/// Does `work`, whose DataErrors name the user's line unless they name one already.
template <class Work>
auto at_line(SourceLocation where, const Work& work) {
  try {
    return work();
  } catch (const DataError& error) {
    if (error.where().known()) throw;
    throw DataError(error.what(), where);
  }
}

}  // namespace gradgraph

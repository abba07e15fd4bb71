#pragma once

#include <typeinfo>

#include "gradgraph/error.h"

namespace gradgraph {

/// Does `work`, whose DataErrors name the user's line unless they name one already. Other
/// errors, a user's own kinds of DataError among them, stay as they are.
template <class Work>
auto at_line(SourceLocation where, const Work& work) {
  try {
    return work();
  } catch (const DataError& error) {
    if (error.where().known() || typeid(error) != typeid(DataError)) throw;
    throw DataError(error.what(), where);
  }
}

}  // namespace gradgraph

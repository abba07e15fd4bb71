#pragma once

#include <typeinfo>

#include "gradgraph/error.h"

namespace gradgraph {

/// A kind of DataError that the library keeps to itself.
struct InternalDataError : DataError {
  using DataError::DataError;
};

/// Does `work`, whose DataErrors name the user's line unless they name one already. Other
/// errors, a user's own kinds of DataError among them, stay as they are.
template <class Work>
auto at_line(SourceLocation where, const Work& work) {
  try {
    return work();
  } catch (const DataError& error) {
    const bool is_ours = typeid(error) == typeid(DataError) ||
                         dynamic_cast<const InternalDataError*>(&error) != nullptr;
    if (error.where().known() || !is_ours) throw;
    throw DataError(error.what(), where);
  }
}

}  // namespace gradgraph

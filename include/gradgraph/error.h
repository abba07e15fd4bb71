#pragma once

#include <stdexcept>
#include <string>

#include "gradgraph/api.h"
#include "gradgraph/source_location.h"

namespace gradgraph GRADGRAPH_API {

/// The base of everything that this library throws. The message is complete as it is: it names
/// the op, the node, the shapes and the user's file and line wherever these are known.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, SourceLocation where = {});
  /// The user's line that the message names; `where().known()` is false where there is none.
  SourceLocation where() const { return where_; }

 private:
  SourceLocation where_;
};

/// A node cannot be built: wrong shapes, dtypes, attributes or names.
struct BuildError : Error {
  using Error::Error;
};
/// No gradient can be built: a path crosses an op without one.
struct GradientError : Error {
  using Error::Error;
};
/// A node cannot be placed: no device has its kernel, or a strict request cannot be met.
struct PlacementError : Error {
  using Error::Error;
};
/// A run cannot start or finish: feeds, fetches, uninitialised variables, bad values.
struct RunError : Error {
  using Error::Error;
  /// What was wrong with the values of a run came out when its plan was built.
  explicit RunError(const BuildError& cause) : Error(cause) {}
};
/// A file or data set is missing, broken or not what it claims to be.
struct DataError : Error {
  using Error::Error;
};

}  // namespace gradgraph

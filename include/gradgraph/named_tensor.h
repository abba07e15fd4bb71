#pragma once

#include <string>

#include "gradgraph/tensor.h"

namespace gradgraph GRADGRAPH_API {

/// A tensor as files and data sets have it: by name.
struct NamedTensor {
  std::string name;
  Tensor value;
};

}  // namespace gradgraph

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "gradgraph/data.h"

namespace gradgraph::data {

/// Which of them it is; `owner` ("the batch") stands in the BuildError where there is none.
std::size_t find_array(const std::vector<std::string>& names, const ArrayName& name,
                       std::string_view owner);

/// Throws BuildError for names that are empty or come twice, and for arrays without a first axis
/// or with another one.
void check_arrays(const std::vector<NamedTensor>& arrays, std::string_view owner,
                  SourceLocation where);

/// The first `count` of the tensor's outermost axis, in the same memory.
Tensor leading(const Tensor& tensor, std::int64_t count);

}  // namespace gradgraph::data

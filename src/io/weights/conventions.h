#pragma once

#include <functional>
#include <string>

#include "gradgraph/weights.h"

namespace gradgraph {

/// What a variable's name may be where a tensor has this one, the likeliest first.
std::vector<std::string> variable_names(Convention convention, const std::string& stored);
/// Whether tensors of this name have no counterpart among variables.
bool is_dropped(Convention convention, const std::string& stored);
/// What a variable's tensor is called in a file.
std::string stored_name(Convention convention, const std::string& variable);

/// Whether the variable's axes are reversed in the file: [out,in,...] for our [...,in,out].
bool is_reversed(Convention convention, const std::string& variable, const Shape& shape);
/// The shape that a variable takes a stored one for, and the elements in that order.
Shape from_reversed(const Shape& stored);
Tensor from_reversed(const Tensor& stored);
/// The other way.
Tensor to_reversed(const Tensor& value);

}  // namespace gradgraph

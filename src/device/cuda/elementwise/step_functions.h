#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gradgraph::cuda {

/// A step of float programs (codes::Generated) as lines of PTX, to be put between other lines: a
/// scope of their own. #0 to #2 stand for the operands, #3 for the result: all are registers of
/// 32 bits. Empty where there are none for the code.
const std::string& step_function(int code);

/// Of PTX as nvcc writes it for step_functions.cu: by code.
std::vector<std::string> read_step_functions(std::string_view ptx);
/// What nvcc made of step_functions.cu. The emulated GPU has calls there.
std::string_view step_functions_ptx();

}  // namespace gradgraph::cuda

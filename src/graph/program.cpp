#include "graph/program.h"

#include <algorithm>
#include <variant>

namespace gradgraph {

bool is_instruction(const Node& node) {
  const Traits& traits = node.op().traits;
  const auto is_own_dtype = [&](const Attributes::Entry& attribute) {
    const auto* dtype = std::get_if<DType>(&attribute.second);
    return attribute.first == "dtype" && dtype && *dtype == node.dtype();
  };
  return traits.elementwise && !traits.fused && node.control_inputs().empty() &&
         std::ranges::all_of(node.attributes(), is_own_dtype);
}

ElementwiseProgram make_program(const Node& node) {
  if (node.op().traits.fused) return program_of(node);
  ElementwiseProgram program;
  program.shape = node.shape();
  ElementwiseProgram::Instruction instruction;
  instruction.op = &node.op();
  instruction.dtype = node.dtype();
  for (const Output& input : node.inputs()) {
    instruction.operands[program.input_dtypes.size()] = instruction.num_operands++;
    program.input_dtypes.push_back(input.dtype());
  }
  program.results = {instruction.num_operands};
  program.instructions.push_back(instruction);
  return program;
}

}  // namespace gradgraph

#include "graph/program.h"

namespace gradgraph {

bool is_instruction(const Node& node) {
  const Traits& traits = node.op().traits;
  return traits.elementwise && !traits.fused && node.control_inputs().empty();
}

ElementwiseProgram make_program(const Node& node) {
  if (node.op().traits.fused) return program_of(node);
  ElementwiseProgram program;
  program.shape = node.shape();
  ElementwiseProgram::Instruction instruction;
  instruction.op = &node.op();
  instruction.dtype = node.dtype();
  instruction.attributes = node.attributes();
  for (const Output& input : node.inputs()) {
    instruction.operands[program.input_dtypes.size()] = instruction.num_operands++;
    program.input_dtypes.push_back(input.dtype());
  }
  program.results = {instruction.num_operands};
  program.instructions.push_back(instruction);
  return program;
}

}  // namespace gradgraph

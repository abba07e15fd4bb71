#include "device/shared/half_programs.h"

#include <algorithm>

#include "core/index.h"

namespace gradgraph {
namespace {

class Widening {
 public:
  explicit Widening(const ElementwiseProgram& program) : program_(program) {
    wide_.shape = program.shape;
    wide_.input_dtypes = program.input_dtypes;
    for (std::int32_t i = 0; i < program.num_inputs(); ++i) stored_.push_back(i);
    for (const auto& instruction : program.instructions) add(instruction);
    for (const std::int32_t result : program.results)
      wide_.results.push_back(stored_[at(result)]);
    wide_.reads = program.reads;
    wide_.writes = program.writes;
    wide_.values = program.values;
  }

  ElementwiseProgram take() { return std::move(wide_); }

 private:
  void add(ElementwiseProgram::Instruction instruction) {
    // Casts read and write what is stored.
    const bool casts = instruction.op->name == "cast";
    for (std::int32_t i = 0; i < instruction.num_operands; ++i) {
      std::int32_t& operand = instruction.operands[at(i)];
      operand = casts ? stored_[at(operand)] : converted(operand);
    }
    const DType dtype = instruction.dtype;
    if (!casts) instruction.dtype = calculated_in(dtype);
    const std::int32_t result = append(instruction);
    stored_.push_back(dtype == instruction.dtype ? result : cast(result, dtype));
  }

  /// A register of the program in what is calculated in.
  std::int32_t converted(std::int32_t reg) {
    const DType dtype = program_.dtype(reg);
    if (!is_half(dtype)) return stored_[at(reg)];
    converted_.resize(std::max(converted_.size(), at(reg) + 1), -1);
    if (converted_[at(reg)] < 0)
      converted_[at(reg)] = cast(stored_[at(reg)], calculated_in(dtype));
    return converted_[at(reg)];
  }

  std::int32_t cast(std::int32_t reg, DType dtype) {
    static const OpDef& op = op_registry().at("cast");
    ElementwiseProgram::Instruction instruction{.op = &op, .num_operands = 1, .dtype = dtype};
    instruction.operands[0] = reg;
    return append(instruction);
  }
  std::int32_t append(const ElementwiseProgram::Instruction& instruction) {
    wide_.instructions.push_back(instruction);
    return wide_.num_registers() - 1;
  }

  const ElementwiseProgram& program_;
  ElementwiseProgram wide_;
  std::vector<std::int32_t> stored_;     ///< by register of the program: as it is stored
  std::vector<std::int32_t> converted_;  ///< the same in float32; -1 where nobody asked
};

}  // namespace

ElementwiseProgram in_float32(const ElementwiseProgram& program) {
  const auto is_narrow = [](const ElementwiseProgram::Instruction& instruction) {
    return is_half(instruction.dtype);
  };
  if (std::ranges::none_of(program.input_dtypes, is_half) &&
      std::ranges::none_of(program.instructions, is_narrow))
    return program;
  return Widening(program).take();
}

}  // namespace gradgraph

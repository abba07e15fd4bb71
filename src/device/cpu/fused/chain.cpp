#include "device/cpu/fused/chain.h"

#include <algorithm>

namespace gradgraph {
namespace {

using Instruction = ElementwiseProgram::Instruction;

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

bool has_one_dtype(const ElementwiseProgram& program, DType dtype) {
  return std::ranges::all_of(program.instructions, [&](const Instruction& instruction) {
    return instruction.dtype == dtype && instruction.num_operands <= 2 &&
           std::all_of(instruction.operands.begin(),
                       instruction.operands.begin() + instruction.num_operands,
                       [&](std::int32_t reg) { return program.dtype(reg) == dtype; });
  });
}

/// Registers that must be in memory beside the `kept` ones: those that another instruction than
/// the next one reads, or that one twice.
std::vector<bool> find_stored(const ElementwiseProgram& program, std::vector<bool> kept) {
  std::int32_t result = program.num_inputs();
  for (const Instruction& instruction : program.instructions) {
    const auto [a, b] = std::pair(instruction.operands[0], instruction.operands[1]);
    for (std::int32_t i = 0; i < instruction.num_operands; ++i)
      if (instruction.operands[at(i)] != result - 1) kept[at(instruction.operands[at(i)])] = true;
    if (instruction.num_operands == 2 && a == b) kept[at(a)] = true;
    ++result;
  }
  return kept;
}

}  // namespace

Chain::Chain(const ElementwiseProgram& program, const std::vector<bool>& fixed,
             const std::vector<bool>& kept) {
  if (program.instructions.empty()) return;
  const DType dtype = program.instructions.front().dtype;
  if (!is_floating(dtype) || !has_one_dtype(program, dtype)) return;
  const LinkTable& table = best_links();
  codes_ = &table.codes[dtype == float32 ? 0 : 1];
  line_elements_ = table.line_bytes / static_cast<std::int64_t>(size_of(dtype));

  const std::vector<bool> stored = find_stored(program, kept);
  std::vector<Step> steps;
  const std::int32_t inputs = program.num_inputs();
  const auto is_fixed = [&](std::int32_t reg) { return reg < inputs && fixed[at(reg)]; };
  const auto add = [&](Link::Code code, std::int32_t reg) {
    const bool moves = reg < inputs ? reg >= 0 && !is_fixed(reg) : kept[at(reg)];
    steps.push_back({code, reg, moves});
    return code != nullptr;
  };
  std::int32_t held = -1, result = inputs;  // `held` is the register that travels
  for (const Instruction& instruction : program.instructions) {
    const auto [a, b] = std::pair(instruction.operands[0], instruction.operands[1]);
    const bool unary = instruction.num_operands == 1;
    const bool other_left = !unary && held == b && held != a;
    if (!other_left && held != a) add(is_fixed(a) ? codes_->load_fixed : codes_->load, a);
    const std::int32_t other = other_left ? a : b;
    const std::string& op = instruction.op->name;
    const bool known =
        unary ? add(find_unary_link(*codes_, op), -1)
              : add(find_binary_link(*codes_, op, other_left, is_fixed(other)), other);
    if (!known) return;
    held = result++;
    if (stored[at(held)]) add(codes_->store, held);
  }
  add(codes_->end, -1);
  steps_ = std::move(steps);
}

}  // namespace gradgraph

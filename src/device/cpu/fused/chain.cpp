#include "device/cpu/fused/chain.h"

#include <algorithm>

#include "core/index.h"
#include "device/shared/elementwise_ops.h"

namespace gradgraph {
namespace {

using Instruction = ElementwiseProgram::Instruction;

std::span<const std::int32_t> operands_of(const Instruction& instruction) {
  return std::span(instruction.operands).first(at(instruction.num_operands));
}

bool has_one_dtype(const ElementwiseProgram& program, DType dtype) {
  return std::ranges::all_of(program.instructions, [&](const Instruction& instruction) {
    return instruction.dtype == dtype &&
           std::ranges::all_of(operands_of(instruction),
                               [&](std::int32_t reg) { return program.dtype(reg) == dtype; });
  });
}

/// Registers that must be in memory beside the `kept` ones: those that another instruction than
/// the next one reads, or that one twice.
std::vector<bool> find_stored(const ElementwiseProgram& program, std::vector<bool> kept) {
  std::int32_t result = program.num_inputs();
  for (const Instruction& instruction : program.instructions) {
    const auto operands = operands_of(instruction);
    for (const std::int32_t reg : operands)
      if (reg != result - 1 || std::ranges::count(operands, reg) > 1) kept[at(reg)] = true;
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
  const std::int32_t inputs = program.num_inputs(), registers = program.num_registers();
  const auto is_fixed = [&](std::int32_t reg) {
    return reg >= registers || (reg >= 0 && reg < inputs && fixed[at(reg)]);
  };
  const auto add = [&](Link::Code code, std::int32_t reg) {
    Step::Walk walk = Step::stays;
    if (is_fixed(reg))
      walk = Step::fixed;
    else if (reg >= 0 && (reg < inputs || kept[at(reg)]))
      walk = Step::moves;
    steps.push_back({code, reg, walk});
  };
  // `held` is the register that travels, `parameter` the next one.
  std::int32_t held = -1, result = inputs, parameter = registers;
  for (const Instruction& instruction : program.instructions) {
    const OpLinks* links = find_links(*codes_, instruction.op->name);
    if (!links) return;
    auto others = std::vector(operands_of(instruction).begin(), operands_of(instruction).end());
    auto travels = std::ranges::find(others, held);
    if (travels == others.end()) {
      travels = others.begin();
      add(is_fixed(*travels) ? codes_->load_fixed : codes_->load, *travels);
    }
    const auto place = static_cast<std::size_t>(travels - others.begin());
    others.erase(travels);
    for (std::size_t i = 0; i < parameters_of(instruction.op->name).size(); ++i)
      others.push_back(parameter++);
    const Link::Code code = links->code[place][std::ranges::all_of(others, is_fixed)];
    if (!code) return;
    add(code, others.empty() ? -1 : others[0]);
    for (std::size_t i = 1; i < others.size(); ++i) add(nullptr, others[i]);
    held = result++;
    if (stored[at(held)]) add(codes_->store, held);
  }
  add(codes_->end, -1);
  steps_ = std::move(steps);
}

}  // namespace gradgraph

#include "device/cuda/elementwise/alike_sets.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "core/index.h"

namespace gradgraph::cuda {
namespace {

class SetFinder {
 public:
  SetFinder(const ElementwiseProgram& program, std::span<const Shape> shapes)
      : program_(program),
        shapes_(shapes),
        joined_(at(program.num_registers())),
        readers_(joined_.size()) {
    std::iota(joined_.begin(), joined_.end(), 0);
  }

  std::optional<AlikeSets> find() {
    if (program_.shape.num_elements() == 1) return std::nullopt;
    join();
    std::vector<Set> sets = take_apart();
    if (sets.size() < 2) return std::nullopt;
    AlikeSets alike;
    for (const Set& set : sets) {
      if (set.inputs.size() != sets[0].inputs.size() || !is_like(set, sets[0]))
        return std::nullopt;
      alike.inputs.push_back(set.inputs);
      alike.outputs.push_back(set.outputs);
    }
    alike.shared = shared_;
    alike.program = program_of_set(sets[0]);
    for (const std::vector<int>* inputs : {&sets[0].inputs, &shared_})
      for (const int input : *inputs) alike.shapes.push_back(shapes_[at(input)]);
    return alike;
  }

 private:
  /// Places of instructions, and inputs and outputs, of the whole program. The instructions name
  /// registers of the set's own program, but that of shared input i is -1 - i.
  struct Set {
    std::vector<int> inputs, outputs;
    std::vector<ElementwiseProgram::Instruction> instructions;
    std::vector<std::int32_t> results;
    std::map<std::int32_t, std::int32_t> own;  ///< by register of the whole program
  };

  bool is_single(std::int32_t reg) const {
    return reg < program_.num_inputs() && shapes_[at(reg)].num_elements() == 1;
  }
  bool is_shared(std::int32_t reg) const { return is_single(reg) && readers_[at(reg)] > 1; }
  std::int32_t leader(std::int32_t reg) {
    while (joined_[at(reg)] != reg) reg = joined_[at(reg)] = joined_[at(joined_[at(reg)])];
    return reg;
  }
  void join() {
    std::int32_t made = program_.num_inputs();
    for (const auto& instruction : program_.instructions) {
      for (std::int32_t i = 0; i < instruction.num_operands; ++i)
        if (const std::int32_t operand = instruction.operands[at(i)]; !is_single(operand))
          joined_[at(leader(operand))] = leader(made);
      ++made;
    }
    // A single element that one set alone reads is its own.
    made = program_.num_inputs();
    std::map<std::int32_t, std::int32_t> reader;
    for (const auto& instruction : program_.instructions) {
      for (std::int32_t i = 0; i < instruction.num_operands; ++i) {
        const std::int32_t operand = instruction.operands[at(i)];
        if (!is_single(operand)) continue;
        const auto [known, is_first] = reader.try_emplace(operand, leader(made));
        readers_[at(operand)] += is_first || leader(made) != known->second;
      }
      ++made;
    }
    for (const auto& [input, set] : reader)
      if (readers_[at(input)] == 1) joined_[at(input)] = leader(set);
  }

  /// In the order of the outputs.
  std::vector<Set> take_apart() {
    std::vector<Set> sets;
    std::map<std::int32_t, std::size_t> set_of;  // by leader
    for (const std::int32_t result : program_.results)
      if (set_of.try_emplace(leader(result), sets.size()).second) sets.emplace_back();
    const auto find = [&](std::int32_t reg) {
      const auto found = set_of.find(leader(reg));
      return found == set_of.end() ? nullptr : &sets[found->second];
    };
    for (std::int32_t input = 0; input < program_.num_inputs(); ++input) {
      if (is_shared(input)) {
        shared_.push_back(input);
      } else if (Set* set = find(input)) {
        set->own[input] = static_cast<std::int32_t>(set->inputs.size());
        set->inputs.push_back(input);
      }
    }
    std::int32_t made = program_.num_inputs();
    for (const auto& instruction : program_.instructions) {
      if (Set* set = find(made)) {
        set->own[made] = static_cast<std::int32_t>(set->own.size());
        auto own = instruction;
        for (std::int32_t i = 0; i < own.num_operands; ++i) {
          std::int32_t& operand = own.operands[at(i)];
          operand = is_shared(operand) ? -1 - operand : set->own.at(operand);
        }
        set->instructions.push_back(std::move(own));
      }
      ++made;
    }
    for (std::size_t i = 0; i < program_.results.size(); ++i) {
      Set& set = *find(program_.results[i]);
      if (is_shared(program_.results[i])) return {};
      set.outputs.push_back(static_cast<int>(i));
      set.results.push_back(set.own.at(program_.results[i]));
    }
    return sets;
  }

  bool is_like(const Set& a, const Set& b) const {
    const auto are_inputs_alike = [&](int x, int y) {
      return program_.input_dtypes[at(x)] == program_.input_dtypes[at(y)] &&
             shapes_[at(x)] == shapes_[at(y)];
    };
    const auto are_alike = [](const auto& x, const auto& y) {
      return x.op == y.op && x.dtype == y.dtype && x.num_operands == y.num_operands &&
             std::equal(x.operands.begin(), x.operands.begin() + x.num_operands,
                        y.operands.begin()) &&
             x.attributes.begin() == x.attributes.end() &&
             y.attributes.begin() == y.attributes.end();
    };
    return a.results == b.results && std::ranges::equal(a.inputs, b.inputs, are_inputs_alike) &&
           std::ranges::equal(a.instructions, b.instructions, are_alike);
  }

  ElementwiseProgram program_of_set(const Set& set) const {
    ElementwiseProgram program;
    program.shape = program_.shape;
    for (const std::vector<int>* inputs : {&set.inputs, &shared_})
      for (const int input : *inputs)
        program.input_dtypes.push_back(program_.input_dtypes[at(input)]);
    const auto own = static_cast<std::int32_t>(set.inputs.size());
    const auto shared = static_cast<std::int32_t>(shared_.size());
    const auto moved = [&](std::int32_t reg) {
      if (reg >= 0) return reg < own ? reg : reg + shared;
      const auto place = std::ranges::find(shared_, -1 - reg);
      return own + static_cast<std::int32_t>(place - shared_.begin());
    };
    for (auto instruction : set.instructions) {
      for (std::int32_t i = 0; i < instruction.num_operands; ++i)
        instruction.operands[at(i)] = moved(instruction.operands[at(i)]);
      program.instructions.push_back(std::move(instruction));
    }
    for (const std::int32_t result : set.results) program.results.push_back(moved(result));
    return program;
  }

  const ElementwiseProgram& program_;
  std::span<const Shape> shapes_;
  std::vector<std::int32_t> joined_;  ///< registers of one set, each to another or to itself
  std::vector<int> readers_;          ///< sets, by input that is a single element
  std::vector<int> shared_;
};

}  // namespace

std::optional<AlikeSets> find_alike_sets(const ElementwiseProgram& program,
                                         std::span<const Shape> shapes) {
  return SetFinder(program, shapes).find();
}

}  // namespace gradgraph::cuda

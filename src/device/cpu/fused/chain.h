#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/cpu/fused/links.h"
#include "graph/program.h"

namespace gradgraph {

/// A whole program as threaded code. Empty where an instruction has no link, or where floating
/// types mix.
class Chain {
 public:
  Chain() = default;
  /// `fixed` tells the inputs that have one element for all; all parameters have. Of `kept`
  /// registers all elements are wanted in memory; others are there, where they must be, for a
  /// block at a time. The parameters of instructions, in their order, are registers behind the
  /// program's own.
  Chain(const ElementwiseProgram& program, const std::vector<bool>& fixed,
        const std::vector<bool>& kept);

  explicit operator bool() const { return !steps_.empty(); }
  std::int64_t line_elements() const { return line_elements_; }
  std::int64_t block_elements() const { return line_elements_ * kLinkLines; }
  /// For the links of one call to `run`.
  std::size_t scratch_bytes() const { return steps_.size() * sizeof(Link); }

  /// Where a register's first block is, or the one that it has, and bytes from line to line.
  struct Place {
    char* memory;
    std::ptrdiff_t line_step;
  };
  /// `place(register)` tells where registers in memory are.
  template <class PlaceOf>
  void run(std::int64_t blocks, void* scratch, const PlaceOf& place) const {
    auto* links = static_cast<Link*>(scratch);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const Step& step = steps_[i];
      const Place at = step.reg < 0 ? Place{} : place(step.reg);
      std::ptrdiff_t block_step = 0;
      if (step.walk == Step::moves) block_step = kLinkLines * at.line_step;
      if (step.walk == Step::fixed) block_step = Link::kFixed;
      links[i] = {step.code, at.memory, at.line_step, block_step};
    }
    codes_->run(links, blocks);
  }

 private:
  struct Step {
    Link::Code code;   ///< null: one more operand of the code before
    std::int32_t reg;  ///< in memory; -1 for none
    enum Walk : std::uint8_t { stays, moves, fixed } walk;  ///< from block to block
  };

  const LinkTable::Codes* codes_ = nullptr;
  std::int64_t line_elements_ = 0;
  std::vector<Step> steps_;
};

}  // namespace gradgraph

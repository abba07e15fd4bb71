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
  /// `fixed` tells the inputs that have one element for all. Of `kept` registers all elements
  /// are wanted in memory; others are there, where they must be, for a block at a time.
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
      links[i] = {step.code, at.memory, at.line_step, step.moves ? kLinkLines * at.line_step : 0};
    }
    codes_->run(links, blocks);
  }

 private:
  struct Step {
    Link::Code code;
    std::int32_t reg;  ///< in memory; -1 for none
    bool moves;        ///< from block to block
  };

  const LinkTable::Codes* codes_ = nullptr;
  std::int64_t line_elements_ = 0;
  std::vector<Step> steps_;
};

}  // namespace gradgraph

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/cpu/links.h"
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
  std::int64_t block_elements() const { return block_elements_; }
  /// For the links of one call to `run`.
  std::size_t scratch_bytes() const { return steps_.size() * sizeof(Link); }

  /// `elements`: whole blocks. `address(register)` is where its first one is, or the one that it
  /// has.
  template <class Address>
  void run(std::int64_t elements, void* scratch, const Address& address) const {
    auto* links = static_cast<Link*>(scratch);
    for (std::size_t i = 0; i < steps_.size(); ++i)
      links[i] = {steps_[i].code, steps_[i].reg < 0 ? nullptr : address(steps_[i].reg),
                  steps_[i].mask};
    codes_->run(links, elements * element_size_);
  }

 private:
  struct Step {
    Link::Code code;
    std::int32_t reg;  ///< in memory; -1 for none
    std::ptrdiff_t mask;
  };

  const LinkTable::Codes* codes_ = nullptr;
  std::int64_t block_elements_ = 0, element_size_ = 0;
  std::vector<Step> steps_;
};

}  // namespace gradgraph

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "session/checking/value_range.h"

namespace gradgraph {

/// Looks at the values of a plan's run as they are made, for SessionOptions::check_numerics, and
/// throws a NumericsError that names the user's node where the first bad one is:
/// - NaN that is made of inputs without NaN, or infinities that are made of finite inputs;
/// - an update that leaves either in a variable which was finite;
/// - a fed value that is not finite, a variable that holds NaN before the run.
/// NaN may be fed where `is_nan` reads it: the program knows of it, as of a missing value.
/// Constants may hold anything, variables infinities, and what a node makes of those is not its
/// fault, unless it makes NaN of infinities. Nor is what comes out of subgraphs, which look at
/// their own values.
class NumericsCheck {
 public:
  /// Hands over, on the host, the elements behind a value's address, a piece after the other.
  using Take = std::function<void(const void* elements, std::size_t bytes)>;
  using Read = std::function<void(const PlannedValue& value, const void* address, const Take&)>;

  explicit NumericsCheck(const Plan& plan);

  /// Begins a run, in `step`: -1 where it computes initial values. Looks at what is there before
  /// the plan's first step: feeds, constants, and variables where `has_value` says so.
  /// `addresses` are laid out as Plan::step_values.
  void begin(std::int64_t step, const void* const* addresses, const Read& read,
             const std::function<bool(const PlannedValue&)>& has_value = {});
  /// Of these, those that must be finite.
  void require_sources() const;
  /// After a step that runs a kernel; `addresses` are its values'.
  void check(const PlannedStep& step, const void* const* addresses, const Read& read);
  /// After one that copies.
  void check_copy(const PlannedStep& step);

 private:
  struct Source {
    std::size_t value;
    std::size_t address;  ///< the first of its places among Plan::step_values
  };

  ValueRange range_of(const PlannedValue& value, const void* address, const Read& read) const;
  bool may_make(const PlannedStep& step, const ValueRange& result) const;
  [[noreturn]] void fail(const Node& node, const std::string& message) const;
  std::string inputs_in_words(const PlannedStep& step) const;

  bool is_known_to_hold_nan(std::size_t value) const;

  const Plan& plan_;
  std::vector<Source> constants_, others_;
  std::vector<ValueRange> ranges_;  ///< by value
  bool knows_constants_ = false;
  std::int64_t step_ = 0;
};

/// Of values in memory of the host.
void read_on_host(const PlannedValue& value, const void* address,
                  const NumericsCheck::Take& take);

}  // namespace gradgraph

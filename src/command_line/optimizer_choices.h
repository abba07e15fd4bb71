#pragma once

#include <array>
#include <string>

#include "gradgraph/optimizers.h"

namespace gradgraph::command_line {

/// An optimiser as --optimizer calls it, and the rate that is usual for it.
struct OptimizerChoice {
  const char* name;
  double learning_rate;
  Optimizer (*make)(LearningRate, LossScale);
};
extern const std::array<OptimizerChoice, 6> kOptimizers;

/// Throws BuildError where there is none of that name.
const OptimizerChoice& optimizer_choice(const std::string& name, SourceLocation where);

}  // namespace gradgraph::command_line

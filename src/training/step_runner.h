#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gradgraph/training.h"
#include "training/means.h"

namespace gradgraph::training {

/// Throws BuildError "fit: <message>" where the condition does not hold.
void require(bool condition, const std::string& message, SourceLocation where);
/// Whether logs of the step have this name.
bool has_metric(const TrainingStep& step, std::string_view name);

/// Runs a step, with its train op, with what accumulates in its place or with neither, on batches
/// that are fed or lie in the graph, and adds up its loss and metrics.
class StepRunner {
 public:
  enum class Mode : std::uint8_t { train, train_with_gradients, accumulate, evaluate };

  /// Throws BuildError for parts that do not fit each other.
  StepRunner(Session& session, const TrainingStep& step, Mode mode, bool data_in_graph,
             SourceLocation where);

  void run(const data::Batch& batch, Means& means);
  /// `steps` batches of `each` of the samples that the numbers name.
  void run(std::span<const std::int64_t> samples, std::int64_t steps, std::int64_t each,
           Means& means);
  /// What the last run gave of TrainingStep::gradients, where the mode says so.
  std::span<const Tensor> gradients() const {
    return std::span(results_).subspan(num_measured_ + 1);
  }

 private:
  SourceLocation where_;
  std::size_t num_measured_;        ///< of the results, before the op's
  std::vector<std::string> names_;  ///< of the arrays that are fed
  Tensor training_;                 ///< what `training` is fed, or empty
  std::vector<Tensor> feeds_, results_;
  Callable call_;
};

}  // namespace gradgraph::training

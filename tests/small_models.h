#pragma once

#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

namespace gradgraph::tests {

/// The example programs' models, so small that a step takes no time: "softmax", with momentum;
/// "mlp", with dropout, clipping, Adam and a schedule; "cnn", with AdamW.
struct SmallModel {
  explicit SmallModel(const std::string& name);

  /// The losses of all steps, then the variables.
  std::vector<Tensor> train(Session& session) const;
  /// In a session of its own, with dropout drawn alike.
  std::vector<Tensor> train_on(const std::string& device);

  Graph graph;
  std::vector<Output> feeds, fetches, variables;
  /// Of different sizes, so that there is more than one plan.
  std::vector<std::vector<Tensor>> batches;
};

}  // namespace gradgraph::tests

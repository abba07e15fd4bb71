#pragma once

#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// The two models of the examples, as every system of the benchmark trains them: Adam with a
/// constant rate of 1e-3.
namespace bench {

struct Model {
  std::vector<gg::Output> feeds;  ///< images, labels, and a scalar bool that is true in training
  gg::Output logits, loss, accuracy, train;
};

/// `name` is "mlp" or "cnn"; anything else throws BuildError.
Model make_model(gg::Graph& graph, const std::string& name);

}  // namespace bench

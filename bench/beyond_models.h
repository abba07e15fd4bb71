#pragma once

#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// Models beyond MNIST's, as every system that `./run bench --models` compares has them: float32,
/// Adam with a constant rate of 1e-3.
namespace bench {

struct BeyondModel {
  std::vector<gg::Output> feeds;
  gg::Output loss;
  /// What a step computes: the loss and the train op; of a model that only infers, the logits.
  std::vector<gg::Output> fetches;
  /// What is fed, a step after the other, from the first one again after the last one. Made up,
  /// with something in it that can be learnt; the same in every process.
  std::vector<std::vector<gg::Tensor>> batches;
};

/// `name` is "lstm", "transformer", "long_transformer", "vae", "resnet", "mobilenet", "mlp",
/// "unet", "text_cnn", "vocabulary", "recommender" or "cnn_inference"; anything else throws
/// BuildError.
BeyondModel make_beyond_model(gg::Graph& graph, const std::string& name);

}  // namespace bench

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gradgraph/tensor.h"

namespace examples {

/// Mean loss and accuracy over samples, from the means of batches.
class Mean {
 public:
  /// `results` starts with the batch's loss and accuracy, float32 scalars.
  void add(std::int64_t samples, const std::vector<gradgraph::Tensor>& results) {
    add(samples, results[0].item<float>(), results[1].item<float>());
  }
  /// The same for several batches of one size: float32 vectors.
  void add_steps(std::int64_t samples, const std::vector<gradgraph::Tensor>& results) {
    const std::span<const float> losses = results[0].span<float>(),
                                 accuracies = results[1].span<float>();
    for (std::size_t i = 0; i < losses.size(); ++i) add(samples, losses[i], accuracies[i]);
  }
  double loss() const { return loss_ / samples_; }
  double accuracy() const { return accuracy_ / samples_; }

 private:
  void add(std::int64_t samples, float loss, float accuracy) {
    const auto size = static_cast<double>(samples);
    loss_ += size * static_cast<double>(loss);
    accuracy_ += size * static_cast<double>(accuracy);
    samples_ += size;
  }

  double loss_ = 0, accuracy_ = 0, samples_ = 0;
};

}  // namespace examples

#pragma once

#include <vector>

#include "gradgraph/data.h"
#include "gradgraph/tensor.h"

namespace examples {

/// Mean loss and accuracy over samples, from the means of batches.
class Mean {
 public:
  /// `results` starts with the batch's loss and accuracy, float32 scalars.
  void add(const gg::data::Batch& batch, const std::vector<gg::Tensor>& results) {
    const auto size = static_cast<double>(batch.size());
    loss_ += size * static_cast<double>(results[0].item<float>());
    accuracy_ += size * static_cast<double>(results[1].item<float>());
    samples_ += size;
  }
  double loss() const { return loss_ / samples_; }
  double accuracy() const { return accuracy_ / samples_; }

 private:
  double loss_ = 0, accuracy_ = 0, samples_ = 0;
};

}  // namespace examples

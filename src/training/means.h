#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gradgraph/tensor.h"

namespace gradgraph::training {

/// Means over samples, one for each of some results, from the means of batches.
class Means {
 public:
  explicit Means(std::size_t count) : sums_(count) {}

  /// Adds what `steps` batches of `samples` each gave: the first results, each a scalar, or with
  /// an axis of steps.
  void add(std::int64_t steps, std::int64_t samples, const std::vector<Tensor>& results) {
    for (std::size_t i = 0; i < sums_.size(); ++i)
      if (results[i].dtype() == float32)
        add_to(sums_[i], static_cast<double>(samples), results[i].span<float>());
      else
        add_to(sums_[i], static_cast<double>(samples), results[i].cast(float64).span<double>());
    samples_ += steps * samples;
  }
  double mean(std::size_t i) const { return sums_[i] / static_cast<double>(samples_); }

  std::int64_t samples() const { return samples_; }
  const std::vector<double>& sums() const { return sums_; }
  /// Goes on from these.
  void restore(std::vector<double> sums, std::int64_t samples) {
    sums_ = std::move(sums);
    samples_ = samples;
  }
  void clear() {
    sums_.assign(sums_.size(), 0);
    samples_ = 0;
  }

 private:
  template <class Values>
  static void add_to(double& sum, double samples, Values values) {
    for (const auto value : values) sum += samples * static_cast<double>(value);
  }

  std::vector<double> sums_;
  std::int64_t samples_ = 0;
};

}  // namespace gradgraph::training

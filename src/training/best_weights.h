#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "gradgraph/training.h"
#include "gradgraph/weights.h"

namespace gradgraph::training {

/// The best epoch's number and value, and where they are wanted its weights.
class BestWeights {
 public:
  BestWeights(Session& session, Graph& graph, const EarlyStopping& settings)
      : session_(session), graph_(graph), settings_(settings) {}

  /// Whether training goes on after an epoch.
  bool take(const TrainingLog& log) {
    const double value = log[settings_.metric].validation;
    const double gain = settings_.higher_is_better ? value - value_ : value_ - value;
    // A NaN is never better, and a first value always is.
    if (!std::isnan(value) && (epoch_ == 0 || gain > settings_.least_change)) {
      epoch_ = log.epoch;
      value_ = value;
      if (settings_.patience > 0 && settings_.restores_best) keep();
      return true;
    }
    return settings_.patience == 0 || log.epoch - epoch_ < settings_.patience;
  }

  std::int64_t epoch() const { return epoch_; }
  double value() const { return value_; }

  /// Goes on from an epoch whose weights are elsewhere.
  void resume(std::int64_t epoch, double value) {
    epoch_ = epoch;
    value_ = value;
  }
  /// False where the weights are elsewhere.
  bool restore() {
    for (const auto& [variable, value] : weights_) session_.set_value(variable, value);
    return epoch_ == 0 || !weights_.empty();
  }

 private:
  void keep() {
    weights_.clear();
    for (const Output& variable : model_variables(graph_))
      weights_.emplace_back(variable, session_.value(variable));
  }

  Session& session_;
  Graph& graph_;
  const EarlyStopping& settings_;
  std::int64_t epoch_ = 0;
  double value_ = 0;
  std::vector<std::pair<Output, Tensor>> weights_;
};

}  // namespace gradgraph::training

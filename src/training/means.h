#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "gradgraph/tensor.h"
#include "gradgraph/training.h"

namespace gradgraph::training {

/// What a step's runs give to be added up: its loss, each metric's value, and what the values of
/// some are divided by.
inline std::vector<Output> measured_by(const TrainingStep& step) {
  std::vector<Output> values = {step.loss};
  for (const Metric& metric : step.metrics) values.push_back(metric.value);
  for (const Metric& metric : step.metrics)
    if (metric.per) values.push_back(metric.per);
  return values;
}

/// Loss and metrics of a step, over all batches that it has run on.
class Means {
 public:
  explicit Means(const TrainingStep& step) : sums_(measured_by(step).size()) {
    entries_.push_back({.name = "loss", .per = {}, .shown = {}});
    std::size_t divisor = step.metrics.size();
    for (const Metric& metric : step.metrics)
      entries_.push_back({.name = metric.name,
                          .per = metric.per ? std::optional(++divisor) : std::nullopt,
                          .shown = metric.shown});
  }

  /// Adds what `steps` batches of `samples` each gave: the first results are those of
  /// `measured_by`, each a scalar, or with an axis of steps.
  void add(std::int64_t steps, std::int64_t samples, const std::vector<Tensor>& results) {
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      const bool is_mean = i < entries_.size() && !entries_[i].per;
      const double times = is_mean ? static_cast<double>(samples) : 1;
      if (results[i].dtype() == float32)
        add_to(sums_[i], times, results[i].span<float>());
      else
        add_to(sums_[i], times, results[i].cast(float64).span<double>());
    }
    samples_ += steps * samples;
  }

  std::size_t num_metrics() const { return entries_.size(); }
  const std::string& name(std::size_t metric) const { return entries_[metric].name; }
  double value(std::size_t metric) const {
    const Entry& entry = entries_[metric];
    const double by = entry.per ? sums_[*entry.per] : static_cast<double>(samples_);
    const double mean = by == 0 ? std::numeric_limits<double>::quiet_NaN() : sums_[metric] / by;
    return entry.shown ? entry.shown(mean) : mean;
  }

  std::int64_t samples() const { return samples_; }
  const std::vector<double>& sums() const { return sums_; }
  /// What each sum is of, under which a checkpoint has it.
  std::vector<std::string> names_of_sums() const {
    std::vector<std::string> names;
    for (const Entry& entry : entries_)
      names.push_back((entry.per ? "part of " : "sum of ") + entry.name);
    for (const Entry& entry : entries_)
      if (entry.per) names.push_back("whole of " + entry.name);
    return names;
  }
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
  struct Entry {
    std::string name;
    std::optional<std::size_t> per;  ///< the sum that its own is divided by, if not the samples
    std::function<double(double)> shown;
  };

  template <class Values>
  static void add_to(double& sum, double times, Values values) {
    for (const auto value : values) sum += times * static_cast<double>(value);
  }

  std::vector<Entry> entries_;
  std::vector<double> sums_;  ///< of what `measured_by` names
  std::int64_t samples_ = 0;
};

}  // namespace gradgraph::training

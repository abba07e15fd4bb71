#include "training/step_runner.h"

#include <algorithm>

#include "core/text.h"
#include "gradients/variables.h"

namespace gradgraph::training {

void require(bool condition, const std::string& message, SourceLocation where) {
  if (!condition) throw BuildError("fit: " + message, where);
}

bool has_metric(const TrainingStep& step, std::string_view name) {
  return name == "loss" || std::ranges::count(step.metrics, name, &Metric::name) > 0;
}

namespace {

/// Means are floating, sums and what they are divided by are numbers of any dtype.
void require_scalar(const std::string& name, const Output& value, bool is_mean,
                    const Graph& graph, SourceLocation where) {
  require(static_cast<bool>(value), fmt::format("{} is empty", name), where);
  require(&value.graph() == &graph, fmt::format("{} is of another graph", name), where);
  const bool fits = is_mean ? is_floating(value.dtype()) : value.dtype() != boolean;
  require(fits && value.rank() == 0,
          fmt::format("{} is {}{}, not a {} scalar", name, value.dtype(), value.shape(),
                      is_mean ? "floating" : "numeric"),
          where);
}

void require_step(const TrainingStep& step, StepRunner::Mode mode, SourceLocation where) {
  require(static_cast<bool>(step.loss), "the step has no loss", where);
  const Graph& graph = step.loss.graph();
  require_scalar("'loss'", step.loss, true, graph, where);
  for (const Metric& metric : step.metrics) {
    require(!metric.name.empty() && metric.name != "loss",
            fmt::format("a metric cannot be called '{}'", metric.name), where);
    require(std::ranges::count(step.metrics, metric.name, &Metric::name) == 1,
            fmt::format("there are two metrics '{}'", metric.name), where);
    require_scalar(fmt::format("'{}'", metric.name), metric.value, !metric.per, graph, where);
    if (metric.per)
      require_scalar(fmt::format("what '{}' is per", metric.name), metric.per, false, graph,
                     where);
  }
  if (step.training)
    require(step.training.dtype() == boolean && step.training.rank() == 0,
            fmt::format("'training' is {}{}, not a boolean scalar", step.training.dtype(),
                        step.training.shape()),
            where);
  if (mode == StepRunner::Mode::evaluate) return;
  const bool trains = mode != StepRunner::Mode::accumulate;
  const Output& op = trains ? step.train : step.accumulate;
  require(static_cast<bool>(op),
          trains ? "the step has no train op"
                 : "batches_per_update needs a step with 'accumulate', of accumulate_gradients",
          where);
  require(may_train(op), fmt::format("'{}' is no train op: it updates no variable", op.name()),
          where);
}

std::vector<Output> feeds_of(const TrainingStep& step, bool data_in_graph, SourceLocation where) {
  std::vector<Output> feeds;
  if (data_in_graph) {
    require(static_cast<bool>(step.batch.samples),
            "data_in_graph needs a batch that graph_batch made", where);
    feeds = {step.batch.samples};
  } else {
    require(!step.batch.arrays.empty(), "the step's batch has no arrays, which are fed", where);
    for (const auto& [name, array] : step.batch.arrays) {
      require(static_cast<bool>(array), fmt::format("the batch's array '{}' is empty", name),
              where);
      feeds.push_back(array);
    }
  }
  if (step.training) feeds.push_back(step.training);
  return feeds;
}

std::vector<Output> fetches_of(const TrainingStep& step, StepRunner::Mode mode) {
  std::vector<Output> fetches = measured_by(step);
  if (mode == StepRunner::Mode::evaluate) return fetches;
  fetches.push_back(mode == StepRunner::Mode::accumulate ? step.accumulate : step.train);
  if (mode == StepRunner::Mode::train_with_gradients)
    for (const auto& [variable, gradient] : step.gradients)
      if (gradient) fetches.push_back(gradient);
  return fetches;
}

}  // namespace

StepRunner::StepRunner(Session& session, const TrainingStep& step, Mode mode, bool data_in_graph,
                       SourceLocation where)
    : where_(where),
      num_measured_(measured_by(step).size()),
      call_((
          require_step(step, mode, where),
          session.prepare(feeds_of(step, data_in_graph, where), fetches_of(step, mode), where))) {
  if (step.training) training_ = Tensor(mode != Mode::evaluate);
  for (const auto& array : step.batch.arrays) names_.push_back(array.first);
}

void StepRunner::run(const data::Batch& batch, Means& means) {
  feeds_.clear();
  for (const std::string& name : names_) feeds_.push_back(batch[name]);
  if (training_) feeds_.push_back(training_);
  results_ = call_.run(feeds_.data(), feeds_.size(), where_);
  means.add(1, batch.size(), results_);
}

void StepRunner::run(std::span<const std::int64_t> samples, std::int64_t steps, std::int64_t each,
                     Means& means) {
  Tensor numbers(int64, {steps, each});
  std::copy_n(samples.begin(), steps * each, numbers.span<std::int64_t>().begin());
  feeds_.assign({numbers});
  if (training_) feeds_.push_back(training_);
  results_ = call_.run_steps(steps, feeds_.data(), feeds_.size(), where_);
  means.add(steps, each, results_);
}

}  // namespace gradgraph::training

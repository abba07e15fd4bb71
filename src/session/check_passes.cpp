#include "session/check_passes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"

namespace gradgraph {
namespace {

/// What a run gave: the fetches, then the variables. Or the error that it ended with.
struct Trial {
  std::vector<std::string> names;
  std::vector<Tensor> values;
  std::string error;
};

/// The run in a session of its own that starts from the variables of the given one.
Trial try_run(const PreparedRun& prepared, const Tensor* values, std::size_t count,
              std::int64_t budget) {
  const SessionState& original = prepared.session;
  SessionOptions options = original.options;
  options.check_passes = false;
  SessionState session(original.graph, options);
  session.step = original.step;
  session.rewrite_budget = budget;
  for (const Node& node : original.graph.nodes())
    if (const VariableSlot* slot = original.memory.find_variable(node);
        slot && slot->initialized) {
      Tensor value(node.dtype(), node.shape());
      slot->buffer.read(value.raw());
      VariableSlot& copy = session.memory.variable(node);
      copy.buffer.write(value.raw());
      copy.initialized = true;
    }

  Trial trial;
  PreparedRun run(session, prepared.feeds, prepared.fetches, prepared.where);
  run.initializes = prepared.initializes;
  try {
    trial.values = run.run(values, count);
  } catch (const Error& error) {
    trial.error = error.what();
    return trial;
  }
  for (const Output& fetch : prepared.fetches) trial.names.push_back(fetch.name());
  for (const Node& node : original.graph.nodes())
    if (const VariableSlot* slot = session.memory.find_variable(node);
        slot && slot->initialized) {
      Tensor value(node.dtype(), node.shape());
      slot->buffer.read(value.raw());
      trial.names.push_back(node.name());
      trial.values.push_back(value);
    }
  return trial;
}

/// The first element in which two tensors differ by more than rounding can explain, measured
/// against the largest number beside it; -1 where there is none.
std::int64_t find_difference(const Tensor& a, const Tensor& b) {
  const double tolerance = a.dtype() == float32 ? 1e-4 : a.dtype() == float64 ? 1e-9 : 0;
  const Tensor x = a.cast(float64), y = b.cast(float64);
  double scale = 1e-4;
  for (const double value : y.span<double>())
    if (std::isfinite(value)) scale = std::max(scale, std::fabs(value));
  for (std::int64_t i = 0; i < x.num_elements(); ++i) {
    const double u = x.data<double>()[i], v = y.data<double>()[i];
    if (u == v || (std::isnan(u) && std::isnan(v))) continue;
    if (!(std::fabs(u - v) <= tolerance * scale)) return i;
  }
  return -1;
}

/// Says where the two differ; empty when they agree.
std::string describe_difference(const Trial& actual, const Trial& expected) {
  if (actual.error != expected.error)
    return actual.error.empty() ? "there is no error: " + expected.error : actual.error;
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    const Tensor &a = actual.values[i], &b = expected.values[i];
    if (!b) continue;
    if (a.dtype() != b.dtype() || a.shape() != b.shape())
      return fmt::format("'{}' is {}{} instead of {}{}", expected.names[i], a.dtype(), a.shape(),
                         b.dtype(), b.shape());
    if (const std::int64_t at = find_difference(a, b); at >= 0)
      return fmt::format("element {} of '{}' is {} instead of {}", at, expected.names[i],
                         a.cast(float64).data<double>()[at], b.cast(float64).data<double>()[at]);
  }
  return {};
}

}  // namespace

void check_passes(const PreparedRun& prepared, const Tensor* values, std::size_t count) {
  RewriteLog log(/*writes_lines=*/true);
  rewritten_copy(prepared.session.graph, prepared.fed_values(values, count), prepared.fetches,
                 prepared.session.options, log);
  const Trial expected = try_run(prepared, values, count, 0);
  const auto difference_after = [&](std::int64_t budget) {
    return describe_difference(try_run(prepared, values, count, budget), expected);
  };
  std::string difference = difference_after(log.count());
  if (difference.empty()) return;
  std::int64_t good = 0, bad = log.count();
  while (bad - good > 1) {
    const std::int64_t middle = good + (bad - good) / 2;
    const std::string found = difference_after(middle);
    (found.empty() ? good : bad) = middle;
    if (!found.empty()) difference = found;
  }
  throw RunError(fmt::format("rewrite {} of {} changes results: {} ({})", bad, log.count(),
                             log.lines()[static_cast<std::size_t>(bad - 1)], difference),
                 prepared.where);
}

}  // namespace gradgraph

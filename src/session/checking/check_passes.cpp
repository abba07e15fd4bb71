#include "session/checking/check_passes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "session/checking/noisy_copy.h"

namespace gradgraph {
namespace {

/// What a run gave, or the error that it ended with.
struct Trial {
  std::vector<Tensor> results;              ///< by fetch; empty where it has no value
  std::map<const Node*, Tensor> variables;  ///< that have a value afterwards
  std::string error;
};

/// A run in a session of its own, which starts from the variables of the given one.
class TrialRun {
 public:
  TrialRun(const PreparedRun& prepared, const Tensor* values, std::size_t count,
           const SessionOptions& options)
      : prepared_(prepared), values_(values), count_(count), options_(options) {
    options_.check_passes = false;
    options_.precision = Precision::fp32;  // of others, results differ by what they round
    // Without rewrites a run may need more, and kernels that only another device has.
    options_.memory_limit = 0;
    options_.soft_placement = true;
  }

  Trial operator()(std::int64_t budget) const {
    return run(prepared_.graph, prepared_.feeds, prepared_.fetches, budget);
  }
  /// Without rewrites, every number a little off.
  Trial with_noise(int number) const {
    NoisyCopy noisy(prepared_.graph, number);
    return run(noisy.graph, noisy.copies_of(prepared_.feeds), noisy.results_of(prepared_.fetches),
               0);
  }

 private:
  Trial run(const Graph& graph, const std::vector<Output>& feeds,
            const std::vector<Output>& fetches, std::int64_t budget) const {
    SessionState& original = prepared_.session;
    SessionState session(original.graph, options_);
    session.step = original.step;
    for (const Node& node : original.graph.nodes())
      if (const VariableSlot* slot = original.memory.find_variable(node);
          slot && slot->initialized) {
        VariableSlot& copy = session.memory.variable(node);
        session.memory.write(copy.buffer, read(original.memory, node, *slot).raw());
        copy.initialized = true;
      }

    Trial trial;
    PreparedRun run(session, graph, feeds, fetches, prepared_.where);
    run.initializes = prepared_.initializes;
    run.rewrite_budget = budget;
    try {
      trial.results = run.run(values_, count_);
    } catch (const Error& error) {
      trial.error = error.what();
      return trial;
    }
    for (const Node& node : original.graph.nodes())
      if (const VariableSlot* slot = session.memory.find_variable(node);
          slot && slot->initialized)
        trial.variables.emplace(&node, read(session.memory, node, *slot));
    return trial;
  }

  static Tensor read(SessionMemory& memory, const Node& variable, const VariableSlot& slot) {
    Tensor value(variable.dtype(), variable.shape());
    memory.read(slot.buffer, value.raw());
    return value;
  }

  const PreparedRun& prepared_;
  const Tensor* values_;
  std::size_t count_;
  SessionOptions options_;
};

bool same_kind(double a, double b) {
  return std::isfinite(a) == std::isfinite(b) && std::isnan(a) == std::isnan(b);
}

/// Compares trials with the one that no pass has touched.
class Comparison {
 public:
  Comparison(const PreparedRun& prepared, Trial expected)
      : prepared_(prepared), expected_(std::move(expected)) {}

  /// From now on what `trial` shows to be uncertain may differ.
  void allow(Trial trial) {
    if (trial.error.empty()) noisy_.push_back(std::move(trial));
  }

  /// From now on elements may be anything that the graph, as it is written, gives no number for.
  void allow_improvements() { allows_improvements_ = true; }

  /// Says where they differ by more than rounding can explain; empty where they agree.
  std::string describe_difference(const Trial& actual) const {
    // Whichever of several errors comes first, the user sees one.
    if (!actual.error.empty() || !expected_.error.empty()) {
      if (!actual.error.empty() && !expected_.error.empty()) return {};
      return actual.error.empty() ? "there is no error: " + expected_.error : actual.error;
    }
    for (std::size_t i = 0; i < expected_.results.size(); ++i) {
      const auto result = [i](const Trial& trial) { return &trial.results[i]; };
      if (auto text = describe(prepared_.fetches[i].name(), actual, result); !text.empty())
        return text;
    }
    for (const Node& node : prepared_.session.graph.nodes()) {
      const auto variable = [&](const Trial& trial) -> const Tensor* {
        const auto found = trial.variables.find(&node);
        return found == trial.variables.end() ? nullptr : &found->second;
      };
      if (auto text = describe(node.name(), actual, variable); !text.empty()) return text;
    }
    return {};
  }

 private:
  /// `value_of(trial)` is what is compared: null or empty where the trial has none.
  template <class ValueOf>
  std::string describe(const std::string& name, const Trial& actual,
                       const ValueOf& value_of) const {
    const auto get = [&](const Trial& trial) {
      const Tensor* value = value_of(trial);
      return value ? *value : Tensor();
    };
    const Tensor a = get(actual), b = get(expected_);
    if (!a && !b) return {};
    const auto type = [](const Tensor& value) {
      return value ? fmt::format("{}{}", value.dtype(), value.shape()) : "without a value";
    };
    if (!a || !b || a.dtype() != b.dtype() || a.shape() != b.shape())
      return fmt::format("'{}' is {} instead of {}", name, type(a), type(b));
    std::vector<Tensor> noisy;
    for (const Trial& trial : noisy_)
      if (const Tensor value = get(trial)) noisy.push_back(value.cast(float64));
    return describe_elements(name, a, b, noisy);
  }

  static double tolerance_of(DType dtype) {
    switch (dtype) {
      case float32: return 1e-4;
      case float64: return 1e-9;
      case float16: return 0.02;
      case bfloat16: return 0.1;
      default: return 0;
    }
  }

  std::string describe_elements(const std::string& name, const Tensor& a, const Tensor& b,
                                const std::vector<Tensor>& noisy) const {
    const double tolerance = tolerance_of(a.dtype());
    const Tensor x = a.cast(float64), y = b.cast(float64);
    double scale = 1e-4;
    for (const double value : y.span<double>())
      if (std::isfinite(value)) scale = std::max(scale, std::fabs(value));
    const double most = tolerance * scale + spread(y, noisy);
    for (std::int64_t i = 0; i < x.num_elements(); ++i) {
      const double u = x.data<double>()[i], v = y.data<double>()[i];
      if (u == v || (std::isnan(u) && std::isnan(v)) || std::fabs(u - v) <= most ||
          most == std::numeric_limits<double>::infinity() ||
          (allows_improvements_ && !std::isfinite(v)))
        continue;
      return fmt::format("element {} of '{}' is {} instead of {}", i, name, u, v);
    }
    return {};
  }

  /// How far elements may be off, going by what noise does to any of them: to which of them a
  /// choice falls is chance.
  static double spread(const Tensor& values, const std::vector<Tensor>& noisy) {
    constexpr double kFactor = 16;
    double largest = 0;
    for (const Tensor& tensor : noisy)
      for (std::int64_t i = 0; i < values.num_elements(); ++i) {
        const double value = values.data<double>()[i], other = tensor.data<double>()[i];
        if (!same_kind(other, value)) return std::numeric_limits<double>::infinity();
        if (std::isfinite(value)) largest = std::max(largest, std::fabs(other - value));
      }
    return kFactor * largest;
  }

  const PreparedRun& prepared_;
  Trial expected_;
  std::vector<Trial> noisy_;
  bool allows_improvements_ = false;
};

/// The rewrites of a session with other options, and runs with the first few of them.
struct Rewrites {
  Rewrites(const PreparedRun& prepared, const Tensor* values, std::size_t count,
           const SessionOptions& options)
      : trial(prepared, values, count, options) {
    rewritten_copy(prepared.graph, prepared.fed_values(values, count), prepared.fetches, options,
                   log);
  }

  TrialRun trial;
  RewriteLog log{/*writes_lines=*/true};
};

/// "rewrite 3 of 7", of those that the session itself would do, which are not numbered as those
/// of `log` are: "an exact rewrite" where it is not among them.
std::string numbered(const RewriteLog& own, const RewriteLog& log, std::size_t index) {
  const std::string& line = log.lines()[index];
  const auto before = std::span(log.lines()).first(index);
  auto left = std::ranges::count(before, line);
  for (std::size_t i = 0; i < own.lines().size(); ++i)
    if (own.lines()[i] == line && left-- == 0)
      return fmt::format("rewrite {} of {}", i + 1, own.lines().size());
  return "an exact rewrite";
}

/// Throws an error that names the single rewrite to blame for `difference`, by its number in
/// `own`.
[[noreturn]] void blame(const RewriteLog& own, const Rewrites& rewrites,
                        const Comparison& comparison, std::string difference,
                        std::string_view advice, SourceLocation where) {
  std::int64_t good = 0, bad = rewrites.log.count();
  while (bad - good > 1) {
    const std::int64_t middle = good + (bad - good) / 2;
    const std::string found = comparison.describe_difference(rewrites.trial(middle));
    (found.empty() ? good : bad) = middle;
    if (!found.empty()) difference = found;
  }
  const auto index = static_cast<std::size_t>(bad - 1);
  throw RunError(fmt::format("{} changes results: {} ({}{})", numbered(own, rewrites.log, index),
                             rewrites.log.lines()[index], difference, advice),
                 where);
}

}  // namespace

void check_passes(const PreparedRun& prepared, const Tensor* values, std::size_t count) {
  const SessionOptions& options = prepared.session.options;
  const Rewrites all(prepared, values, count, options);
  if (all.log.count() == 0) return;
  Comparison comparison(prepared, all.trial(0));
  const Trial actual = all.trial(all.log.count());
  if (comparison.describe_difference(actual).empty()) return;
  // Numbers that cancel, and choices between them, may hang on a rounding: noise shows which do.
  constexpr int kNoisyTrials = 12;
  for (int number = 0; number < kNoisyTrials; ++number)
    comparison.allow(all.trial.with_noise(number));
  std::string difference = comparison.describe_difference(actual);
  if (difference.empty()) return;
  if (options.exact_rewrites) blame(all.log, all, comparison, difference, "", prepared.where);
  // What the published rewrites improve is no fault, where nothing but they make the difference.
  SessionOptions exact_options = options;
  exact_options.exact_rewrites = true;
  const Rewrites exact(prepared, values, count, exact_options);
  const std::string fault = comparison.describe_difference(exact.trial(exact.log.count()));
  if (!fault.empty()) blame(all.log, exact, comparison, fault, "", prepared.where);
  comparison.allow_improvements();
  difference = comparison.describe_difference(actual);
  if (!difference.empty())
    blame(all.log, all, comparison, difference, "; SessionOptions::exact_rewrites leaves it out",
          prepared.where);
}

}  // namespace gradgraph

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/text.h"
#include "noise.h"
#include "pass_drawing.h"
#include "pass_patterns.h"
#include "passes/rewriting/known_op.h"
#include "passes/topology.h"
#include "session/compiled_plan.h"
#include "special_values.h"

/// Graphs that differ in one thing from what a pass looks for: an attribute, a dtype, a shape,
/// one more reader, a control input, a device. The pass leaves them alone, or the numbers stay.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

constexpr const char* kUnknown = "of a later version";

/// The one thing that is different.
struct Change {
  enum class Kind : std::uint8_t {
    none,
    attribute,    ///< a value of the node's
    unknown,      ///< one more attribute
    dtype,        ///< float64 in place of float32
    read,         ///< the node's results are fetched
    wait,         ///< the node runs after one that it does not need
    wait_update,  ///< after all inputs, variables here, got other values
    device,
  };
  Kind kind = Kind::none;
  int node = -1;  ///< its id
  std::string_view name = {};
  Attribute value = {};
};

/// What a value could be instead.
std::vector<Attribute> alternatives(std::string_view name, const Attribute& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return {!*flag};
  if (const auto* number = std::get_if<std::int64_t>(&value)) return {*number + 1, *number - 1};
  if (const auto* number = std::get_if<double>(&value)) return {*number + 0.25};
  if (const auto* dtype = std::get_if<DType>(&value))
    return {*dtype == float32 ? float64 : float32, int32};
  if (name == "padding")
    return {std::string("valid"), std::string("same"), std::string("explicit")};
  if (name == "layout") return {std::string("nhwc"), std::string("nchw")};
  std::vector<Attribute> result;
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value)) {
    for (std::size_t i = 0; i < list->size(); ++i)
      for (const int by : {1, -1}) {
        auto other = *list;
        other[i] += by;
        result.emplace_back(other);
      }
    result.emplace_back(std::vector<std::int64_t>(list->rbegin(), list->rend()));
  }
  if (const auto* shape = std::get_if<Shape>(&value)) {
    for (int axis = 0; axis < shape->rank(); ++axis)
      for (const std::int64_t dim : {shape->dims()[static_cast<std::size_t>(axis)] + 1,
                                     std::int64_t{1}, std::int64_t{0}}) {
        Shape other = *shape;
        other.set(axis, dim);
        result.emplace_back(other);
      }
    Shape longer{2};
    for (const std::int64_t dim : *shape) longer.append(dim);
    result.emplace_back(longer);
    result.emplace_back(Shape());
  }
  return result;
}

/// All that can be different in a graph.
std::vector<Change> changes_of(const Graph& graph) {
  std::vector<Change> changes = {{}, {.kind = Change::Kind::dtype}};
  for (const Node& node : graph.nodes()) {
    const bool is_variable = node.op().name == "variable";  // which has its initial value
    for (const auto& [name, value] : is_variable ? Attributes() : node.attributes())
      for (const Attribute& other : alternatives(name, value))
        if (!same_value(other, value))
          changes.push_back({Change::Kind::attribute, node.id(), name, other});
    if (node.num_inputs() == 0) continue;
    for (const auto kind : {Change::Kind::unknown, Change::Kind::read, Change::Kind::wait,
                            Change::Kind::wait_update, Change::Kind::device})
      changes.push_back({kind, node.id()});
  }
  return changes;
}

/// A graph made again with a change. Throws BuildError where that makes no sense.
class Changed {
 public:
  Changed(Graph& original, const std::vector<Output>& fetched, const Change& change) {
    std::vector<Output> inputs;
    for (const Node& node : original.nodes())
      if (node.op().name == "placeholder") {
        copies_[&node] = &make(node, change);
        inputs.push_back(copies_[&node]->output());
      }
    Output last;
    if (change.kind == Change::Kind::wait) last = named(constant(graph, Tensor(1.f)), "last");
    if (change.kind == Change::Kind::wait_update) last = replace_by_variables(original, inputs);
    for (const Node& node : original.nodes()) {
      if (copies_.contains(&node)) continue;
      copies_[&node] = &make(node, change);
      for (Node* before : node.control_inputs())
        copies_[&node]->add_control_input(*copies_.at(before));
      if (node.id() == change.node && last) copies_[&node]->add_control_input(last.node());
      if (const Output value = original.initial_value(node))
        graph.set_initial_value(*copies_[&node], copy_of(value));
    }
    for (const Output& fetch : fetched) fetches.push_back(copy_of(fetch));
    const auto& changed = original.nodes()[static_cast<std::size_t>(std::max(change.node, 0))];
    if (change.kind == Change::Kind::read)
      for (int i = 0; i < changed.num_outputs(); ++i)
        fetches.push_back(copies_[&changed]->output(i));
  }

  /// Numbers for the placeholders, special ones among them if asked for.
  Feeds feeds(unsigned seed, bool special) const {
    Feeds feeds;
    for (const Output& input : inputs_) feeds.emplace_back(input, draw(input, ++seed, special));
    return feeds;
  }

  Graph graph;
  std::vector<Output> fetches;

 private:
  Output copy_of(const Output& output) {
    return copies_.at(&output.node())->output(output.index());
  }

  Node& make(const Node& node, const Change& change) {
    Attributes attributes = node.attributes();
    if (change.kind == Change::Kind::dtype)
      for (const auto& [name, value] : node.attributes()) {
        if (same_value(value, float32)) attributes.set(name, float64);
        const auto* tensor = std::get_if<Tensor>(&value);
        if (tensor && tensor->dtype() == float32) attributes.set(name, tensor->cast(float64));
      }
    if (node.id() == change.node) {
      if (change.kind == Change::Kind::attribute) attributes.set(change.name, change.value);
    }
    std::vector<Output> inputs;
    for (const Output& input : node.inputs()) inputs.push_back(copy_of(input));
    const bool keeps_name = node.op().name == "variable" || node.op().traits.random;
    Node& made = graph.add(node.op(), inputs, attributes, node.where(),
                           keeps_name ? std::string_view(node.name()) : std::string_view());
    if (node.id() == change.node && change.kind == Change::Kind::device) made.set_device("cpu");
    // As if the op had got it; building would refuse it.
    if (node.id() == change.node && change.kind == Change::Kind::unknown)
      const_cast<Attributes&>(made.attributes()).set(kUnknown, true);
    if (node.op().name == "placeholder") inputs_.push_back(made.output());
    return made;
  }

  /// Makes variables of the inputs, and updates that give them other values. Returns the last.
  Output replace_by_variables(Graph& original, const std::vector<Output>& inputs) {
    std::vector<Output> updates;
    std::size_t next = 0;
    unsigned seed = 77;
    for (const Node& node : original.nodes()) {
      if (node.op().name != "placeholder") continue;
      const Output input = inputs[next++];
      const Output made = variable(graph, draw(input, ++seed, false), "w");
      copies_[&node] = &made.node();
      updates.push_back(assign(made, draw(input, ++seed, false)));
    }
    inputs_.clear();
    return group(graph, updates);
  }

  static Tensor draw(const Output& input, unsigned seed, bool special) {
    const DType dtype = input.dtype();
    std::minstd_rand random(seed + 1);
    Tensor value = noise(input.shape(), seed);
    if (!is_floating(dtype)) {  // class numbers, of which there are at least three
      for (double& x : value.span<double>()) x = std::floor(3 * std::fabs(x));
      return value.cast(dtype);
    }
    // Few different ones, so that sums of nothing else happen.
    const Tensor specials = special_values(dtype).cast(float64);
    const auto count = static_cast<std::size_t>(specials.num_elements());
    const double some[] = {specials.data<double>()[random() % count],
                           specials.data<double>()[random() % count]};
    const std::size_t share = 1 + random() % 6;
    for (double& x : value.span<double>())
      if (special && random() % share == 0) x = some[random() % 2];
    return value.cast(dtype);
  }

  std::map<const Node*, Node*> copies_;
  std::vector<Output> inputs_;
};

/// The values, or what went wrong.
struct Outcome {
  std::vector<Tensor> values;
  std::string error;
};

Outcome run(Changed& changed, const Feeds& feeds, bool with_passes, bool exact) {
  SessionOptions options{.threads = 1, .exact_rewrites = exact, .flush_denormals = false};
  if (!with_passes) options.disabled_passes = all_passes_but({});
  try {
    return {Session(changed.graph, options).run(feeds, changed.fetches), {}};
  } catch (const Error& error) {
    return {{}, error.what()};
  }
}

/// The session's own copy after the passes.
SpecializedGraph rewritten(const Changed& changed, const Feeds& feeds, RewriteLog& log,
                           const std::vector<std::string>& disabled = {}) {
  std::vector<FedValue> fed;
  for (const auto& [output, value] : feeds)
    fed.push_back({output, value.dtype(), value.shape(), {}});
  return rewritten_copy(changed.graph, fed, changed.fetches,
                        {.device = "cpu", .disabled_passes = disabled}, log);
}

std::string describe(const Change& change, const Graph& graph) {
  constexpr const char* kNames[] = {"nothing", "attribute", "unknown attribute", "dtype",
                                    "read",    "wait",      "wait update",       "device"};
  const std::string node =
      change.node < 0 ? "" : graph.nodes()[static_cast<std::size_t>(change.node)].name();
  return fmt::format("{} of '{}' {}", kNames[static_cast<std::size_t>(change.kind)], node,
                     change.name);
}

void check_agree(Changed& changed, const Feeds& feeds, bool exact) {
  const Outcome actual = run(changed, feeds, true, exact);
  const Outcome expected = run(changed, feeds, false, exact);
  CHECK(actual.error == expected.error);
  for (std::size_t i = 0; i < std::min(actual.values.size(), expected.values.size()); ++i)
    CHECK(find_difference(actual.values[i], expected.values[i], 1e-5, 1) == "");
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("every pass finds its pattern, and what is almost one keeps its numbers") {
    int tried = 0;
    for (const PassPattern& pattern : pass_patterns()) {
      INFO(pattern.pass << ": " << pattern.name);
      Graph original;
      const std::vector<Output> fetched = pattern.build(original);
      for (const Change& change : changes_of(original)) {
        INFO(describe(change, original));
        std::unique_ptr<Changed> changed;
        try {
          changed = std::make_unique<Changed>(original, fetched, change);
        } catch (const BuildError&) {
          continue;  // it makes no sense
        }
        ++tried;
        const Feeds feeds = changed->feeds(1, false);
        if (change.kind == Change::Kind::none) {
          RewriteLog log;
          rewritten(*changed, feeds, log);
          CHECK(log.count(pattern.pass) > 0);
        }
        check_agree(*changed, feeds, false);
        check_agree(*changed, changed->feeds(5, true), true);
      }
    }
    CHECK(tried > 1500);
  }

  TEST_CASE("every pattern keeps NaN, infinities and signs of zero") {
    for (const PassPattern& pattern : pass_patterns()) {
      INFO(pattern.pass << ": " << pattern.name);
      Graph original;
      const std::vector<Output> fetched = pattern.build(original);
      for (const auto kind : {Change::Kind::none, Change::Kind::dtype}) {
        Changed changed(original, fetched, {.kind = kind});
        for (unsigned seed = 0; seed < 200; ++seed) {
          CAPTURE(seed);
          check_agree(changed, changed.feeds(1000 * seed, true), true);
        }
      }
    }
  }

  TEST_CASE("no pass forgets an attribute that it does not know") {
    int kept = 0;
    for (const PassPattern& pattern : pass_patterns()) {
      INFO(pattern.pass << ": " << pattern.name);
      Graph original;
      const std::vector<Output> fetched = pattern.build(original);
      for (const Node& node : original.nodes()) {
        if (node.num_inputs() == 0 || node.op().traits.alias) continue;  // a view is its shape
        const Change change{Change::Kind::unknown, node.id()};
        INFO(describe(change, original));
        const Changed changed(original, fetched, change);
        const auto keeps_attribute = [&](const std::vector<std::string>& disabled) {
          RewriteLog log;
          const auto copy = rewritten(changed, changed.feeds(1, false), log, disabled);
          return std::ranges::any_of(
              topological_order(*copy.graph, copy.fetches),
              [](const Node* each) { return each->attributes().find(kUnknown) != nullptr; });
        };
        if (!keeps_attribute(all_passes_but({}))) continue;  // of a constant, or not needed
        ++kept;
        CHECK(keeps_attribute({"fold_constants"}));
      }
    }
    CHECK(kept > 100);
  }
}

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "gradgraph/op.h"
#include "graph/static_inputs.h"
#include "op_rows.h"

/// Every op that has a row, with every integer of its attributes and of its static inputs, and
/// every extent of its inputs, replaced by what is most likely to wrap: it works, or is refused
/// by an Error that names op, node and line, and graph and session go on.
namespace gradgraph::tests {
namespace {

using Ints = std::vector<std::int64_t>;

constexpr std::int64_t kHostile[] = {std::numeric_limits<std::int64_t>::max(),
                                     std::numeric_limits<std::int64_t>::min(),
                                     -1,
                                     0,
                                     std::int64_t{1} << 31,
                                     std::int64_t{1} << 32,
                                     std::int64_t{1} << 46,
                                     std::int64_t{1} << 62};

/// The smallest row that has a node of `op`, and where that is.
const OpRow* row_of(const OpDef& op) {
  const OpRow* best = nullptr;
  std::int64_t least = 0;
  for (const OpRow& row : op_rows()) {
    Graph graph;
    std::vector<Output> inputs;
    std::int64_t elements = 1;
    for (const Tensor& value : row.inputs) {
      inputs.push_back(placeholder(graph, value.dtype(), value.shape()));
      elements += value.num_elements();
      if (value.num_elements() == 0) elements += 1000;  // has nothing that could go wrong
    }
    if (best && elements >= least) continue;
    row.build(inputs);
    const bool has_op =
        std::ranges::any_of(graph.nodes(), [&](const Node& node) { return &node.op() == &op; });
    if (has_op) best = &row, least = elements;
  }
  return best;
}

/// One row's graph and session, in which everything is tried.
class Sweep {
 public:
  explicit Sweep(const OpRow& row) : row_(row) {
    graph_.context().where = SourceLocation::current();  // rows have no lines of their own
    for (const Tensor& value : row.inputs) {
      inputs_.push_back(placeholder(graph_, value.dtype(), value.shape()));
      feeds_.emplace_back(inputs_.back(), value);
    }
    good_ = row.build(inputs_);
    session_.emplace(graph_, SessionOptions{.memory_limit = std::size_t{1} << 24});
    unlimited_.emplace(graph_);
    session_->set_step(0);  // of random ops, too
    expected_ = session_->run(feeds_, good_);
  }

  void attributes_of(const OpDef& op) {
    for (Node* node : nodes_of(op))
      for (const auto& [name, attribute] : node->attributes()) {
        if (const auto* number = std::get_if<std::int64_t>(&attribute))
          change(*node, name, *number, [](std::int64_t value) { return value; });
        if (const auto* list = std::get_if<Ints>(&attribute))
          for (std::size_t i = 0; i < list->size(); ++i)
            change(*node, name, (*list)[i], [&](std::int64_t value) {
              Ints changed = *list;
              changed[i] = value;
              return changed;
            });
      }
  }

  /// As constants, and fed.
  void static_inputs_of(const OpDef& op) {
    for (Node* node : nodes_of(op))
      for (int i = 0; i < node->num_inputs(); ++i) {
        if (!is_static_input(op.traits, i)) continue;
        const auto known = known_vector(node->input(i));
        if (!known || !known->fully_known()) continue;
        for (int k = 0; k < known->rank(); ++k)
          for (const std::int64_t value : kHostile) {
            Ints changed(known->begin(), known->end());
            changed[static_cast<std::size_t>(k)] = value;
            const Tensor vector = Tensor::from(changed, Shape{known->rank()});
            for (const bool is_fed : {false, true}) {
              CAPTURE(i);
              CAPTURE(vector);
              CAPTURE(is_fed);
              Feeds feeds = feeds_;
              attempt(feeds, [&] {
                std::vector<Output> inputs(node->inputs().begin(), node->inputs().end());
                Output& input = inputs[static_cast<std::size_t>(i)];
                input = is_fed ? placeholder(graph_, int64, vector.shape())
                               : constant(graph_, vector);
                if (is_fed) feeds.emplace_back(input, vector);
                return outputs_of(
                    graph_.add(op, inputs, node->attributes(), SourceLocation::current()));
              });
            }
          }
      }
  }

  /// Inputs of which every extent that equals one of theirs is another: known while the graph is
  /// built, and fed.
  void extents() {
    std::set<std::int64_t> extents;
    for (const Tensor& value : row_.inputs)
      extents.insert(value.shape().begin(), value.shape().end());
    for (const std::int64_t extent : extents)
      for (const std::int64_t value : kHostile)
        for (const bool is_fed : {false, true})
          if (value >= 0) {
            CAPTURE(extent);
            CAPTURE(value);
            CAPTURE(is_fed);
            try_extent(extent, value, is_fed);
          }
  }

  std::size_t refused() const { return refused_; }

 private:
  std::vector<Node*> nodes_of(const OpDef& op) {
    std::vector<Node*> found;
    for (Node& node : graph_.nodes())
      if (&node.op() == &op) found.push_back(&node);
    return found;
  }

  static std::vector<Output> outputs_of(Node& node) {
    std::vector<Output> outputs;
    for (int i = 0; i < node.num_outputs(); ++i) outputs.push_back(node.output(i));
    return outputs;
  }

  template <class Change>
  void change(Node& node, std::string_view name, std::int64_t old, const Change& change_to) {
    for (const std::int64_t value : kHostile) {
      if (value == old) continue;
      CAPTURE(std::string(name));
      CAPTURE(value);
      attempt(feeds_, [&] {
        Attributes attributes = node.attributes();
        attributes.set(name, change_to(value));
        const std::vector<Output> inputs(node.inputs().begin(), node.inputs().end());
        return outputs_of(
            graph_.add(node.op(), inputs, std::move(attributes), SourceLocation::current()));
      });
    }
  }

  void try_extent(std::int64_t extent, std::int64_t value, bool is_fed) {
    Feeds feeds = feeds_;
    attempt(feeds, [&] {
      std::vector<Output> inputs;
      for (std::size_t i = 0; i < row_.inputs.size(); ++i) {
        const Tensor& old = row_.inputs[i];
        Ints dims(old.shape().begin(), old.shape().end());
        std::ranges::replace(dims, extent, value);
        const Output scalar = placeholder(graph_, old.dtype(), {});
        feeds.emplace_back(scalar, Tensor::full(old.dtype(), {}, 1));
        const Tensor shape = Tensor::from(dims, Shape{old.shape().rank()});
        const Output target =
            is_fed ? placeholder(graph_, int64, shape.shape()) : constant(graph_, shape);
        if (is_fed) feeds.emplace_back(target, shape);
        inputs.push_back(broadcast_to(scalar, target));
      }
      return row_.build(inputs);
    });
  }

  /// Builds, runs and differentiates; whatever is refused is refused properly.
  void attempt(const Feeds& feeds, const std::function<std::vector<Output>()>& build) {
    std::vector<Output> outputs;
    guarded([&] { outputs = build(); });
    if (outputs.empty()) return check_usable();
    run(feeds, outputs);
    std::vector<Output> ys;
    for (const Output& output : outputs)
      if (is_floating(output.dtype())) ys.push_back(output);
    std::vector<Output> xs, grads;
    for (const auto& [input, value] : feeds)
      if (is_floating(input.dtype())) xs.push_back(input);
    if (ys.empty() || xs.empty()) return check_usable();
    guarded([&] { grads = gradients(ys, xs); });
    std::erase_if(grads, [](const Output& grad) { return !grad; });
    if (!grads.empty()) run(feeds, grads);
    check_usable();
  }

  /// Where the size alone rules it out, without a limit, too.
  void run(const Feeds& feeds, const std::vector<Output>& outputs) {
    bool is_huge = false;
    guarded([&] { session_->run(feeds, outputs); });
    for (const Output& output : outputs)
      is_huge |= output.shape().fully_known() &&
                 std::ranges::any_of(output.shape(),
                                     [](auto dim) { return dim >= std::int64_t{1} << 46; }) &&
                 std::ranges::count(output.shape(), 0) == 0;
    if (is_huge) guarded([&] { unlimited_->run(feeds, outputs); });
  }

  void guarded(const std::function<void()>& body) {
    try {
      body();
    } catch (const Error& error) {
      ++refused_;
      const std::string message = error.what();
      CHECK_MESSAGE(error.where().known(), message);
      CHECK_MESSAGE(message.find(".cpp:") != std::string::npos, message);
      // "[op] 'node': ...", or a list of tensors in the same words.
      CHECK_MESSAGE(message.find("] '") != std::string::npos, message);
    }
  }

  void check_usable() {
    session_->set_step(0);
    const std::vector<Tensor> actual = session_->run(feeds_, good_);
    for (std::size_t i = 0; i < actual.size(); ++i)
      CHECK(std::memcmp(actual[i].raw(), expected_[i].raw(), actual[i].bytes()) == 0);
  }

  const OpRow& row_;
  Graph graph_;
  std::vector<Output> inputs_, good_;
  Feeds feeds_;
  std::optional<Session> session_, unlimited_;
  std::vector<Tensor> expected_;
  std::size_t refused_ = 0;
};

template <class Body>
void for_each_op(const Body& body) {
  std::size_t refused = 0;
  for (const OpDef* op : op_registry().all()) {
    if (op->traits.internal) continue;
    const OpRow* row = row_of(*op);
    if (!row) continue;  // sources and state, which test_sizes.cpp has
    INFO("op " << op->name << ", row " << row->name);
    Sweep sweep(*row);
    body(sweep, *op);
    refused += sweep.refused();
  }
  CHECK(refused > 0);
}

}  // namespace

TEST_SUITE("sizes") {
  TEST_CASE("sweep: integers of attributes") {
    for_each_op([](Sweep& sweep, const OpDef& op) { sweep.attributes_of(op); });
  }
  TEST_CASE("sweep: static inputs") {
    for_each_op([](Sweep& sweep, const OpDef& op) { sweep.static_inputs_of(op); });
  }
  TEST_CASE("sweep: extents of inputs") {
    for_each_op([](Sweep& sweep, const OpDef&) { sweep.extents(); });
  }
}

}  // namespace gradgraph::tests

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/text.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/whole_graph_pass.h"

/// A sum of products becomes one product of longer matrices: the gradient of the weights of a
/// layer that is applied many times, to each step of a sequence say.
///
///     a, b ── matmul ─┐                  a, c ── concat ─┐
///     c, d ── matmul ─┴ add ──    =>     b, d ── concat ─┴ matmul ──
///
/// Where that saves more memory traffic, of products that are written and added up, than it
/// takes, of matrices that are copied.
namespace gradgraph {
namespace {

class ProductMerging : public WholeGraphPass {
 public:
  using WholeGraphPass::WholeGraphPass;

  void run() {
    for (Node* node : topology_.order())
      if (add_.matches(*node) && !is_late(*node) && !is_part(*node) && !log_.is_spent())
        merge(*node);
  }

 private:
  /// Products of one kind in a sum, and the elements that are copied to join both operands.
  struct Products {
    std::vector<Node*> nodes;
    std::int64_t copied = 0;
  };

  /// Whether the addition is part of the sum that its reader makes.
  bool is_part(const Node& node) const {
    const Node* reader = topology_.only_reader(node);
    return reader && add_.matches(*reader) && reader->shape() == node.shape() &&
           reader->device() == node.device() && !is_late(*reader);
  }
  bool is_product(const Node& node, const Node& sum) const {
    return matmul_.matches(node) && topology_.only_reader(node) && node.input(0).rank() == 2 &&
           node.input(1).rank() == 2 && node.shape() == sum.shape() &&
           node.device() == sum.device();
  }

  void merge(Node& sum) {
    std::array<Products, 4> kinds;
    std::vector<Output> rest;
    std::vector<Output> open = {sum.input(1), sum.input(0)};
    while (!open.empty()) {
      const Output term = open.back();
      open.pop_back();
      Node& node = term.node();
      if (add_.matches(node) && is_part(node)) {
        open.insert(open.end(), {node.input(1), node.input(0)});
      } else if (is_product(node, sum)) {
        const Attributes& attributes = node.attributes();
        Products& kind = kinds[(attributes.get<bool>("transpose_a") ? 2 : 0) +
                               (attributes.get<bool>("transpose_b") ? 1 : 0)];
        kind.nodes.push_back(&node);
        kind.copied += copied(node, 0) + copied(node, 1);
      } else {
        rest.push_back(term);
      }
    }
    std::vector<Output> terms;
    Attempt attempt(graph_, context_);
    std::size_t merged = 0;
    for (Products& kind : kinds) {
      // A sequence in its own order, which others may join it in, too: gradients come last first.
      std::ranges::stable_sort(kind.nodes, {}, [](const Node* node) {
        return std::pair(node->input(0).node().id(), node->input(0).index());
      });
      if (pays(kind, sum)) {
        terms.push_back(one_product(kind, sum));
        merged += kind.nodes.size();
      } else {
        for (Node* node : kind.nodes) terms.push_back(node->output());
      }
    }
    if (merged == 0) return;
    terms.insert(terms.end(), rest.begin(), rest.end());
    Output total = terms[0];
    for (std::size_t i = 1; i < terms.size(); ++i)
      total = graph_.add_in_place_of(sum, add_.op(), {total, terms[i]}, {}).output();
    const auto describe = [&] {
      return fmt::format("'{}' has {} products in one", sum.name(), merged);
    };
    if (attempt.succeeds(log_, describe)) replace_readers(graph_, topology_, sum, total);
  }

  /// Rows that are computed in this run are made behind each other (OpDef::parts): no copy.
  static std::int64_t copied(const Node& product, int operand) {
    const Output& matrix = product.input(operand);
    const bool transposed =
        product.attributes().get<bool>(operand == 0 ? "transpose_a" : "transpose_b");
    const bool joins_rows = transposed == (operand == 0);
    return joins_rows && !matrix.node().op().traits.no_kernel ? 0 : matrix.shape().num_elements();
  }

  /// Each product but one is written and read for nothing; each operand is, where it is copied.
  static bool pays(const Products& products, const Node& sum) {
    const auto count = static_cast<std::int64_t>(products.nodes.size());
    return (count - 1) * sum.shape().num_elements() > products.copied;
  }

  Output one_product(const Products& products, const Node& sum) {
    const Attributes& attributes = products.nodes.front()->attributes();
    const std::int64_t inner_of_a = attributes.get<bool>("transpose_a") ? 0 : 1;
    const std::int64_t inner_of_b = attributes.get<bool>("transpose_b") ? 1 : 0;
    const auto joined = [&](int operand, std::int64_t axis) {
      std::vector<Output> parts;
      for (const Node* node : products.nodes) parts.push_back(node->input(operand));
      return graph_.add_in_place_of(sum, concat_, std::move(parts), {{"axis", axis}}).output();
    };
    return graph_
        .add_in_place_of(sum, matmul_.op(), {joined(0, inner_of_a), joined(1, inner_of_b)},
                         attributes)
        .output();
  }

  const KnownOp add_{"add"}, matmul_{"matmul", {"transpose_a", "transpose_b"}};
  const OpDef& concat_ = op_registry().at("concat");
};

}  // namespace

void merge_products(Graph& graph, const PassContext& context, RewriteLog& log) {
  if (context.exact || !has_any(graph, {"matmul"}) || !has_any(graph, {"add"})) return;
  ProductMerging(graph, context, log).run();
}

}  // namespace gradgraph

#include <algorithm>
#include <functional>
#include <memory_resource>
#include <unordered_set>
#include <variant>

#include "gradgraph/op.h"
#include "graph/slot.h"
#include "passes/rewrites.h"
#include "passes/rewriting/known_op.h"

/// Two nodes of one op, with equal attributes and the same inputs, compute the same: the later
/// one goes. Random ops draw numbers of their own, and variables change, so these stay.
namespace gradgraph {
namespace {

bool may_merge(const Node& node) {
  const Traits& traits = node.op().traits;
  const bool is_source = traits.no_kernel && !node.attributes().find("value");
  return !traits.stateful && !traits.random && !traits.moves_value && !is_source;
}

std::size_t mix(std::size_t hash, std::size_t value) {
  return (hash ^ (value + (hash << 6) + (hash >> 2))) * 0x9e3779b97f4a7c15u;
}

/// Of a large tensor, some bytes from its beginning: equal tensors have them in common.
std::size_t hash_of(const Tensor& tensor) {
  constexpr std::size_t kEnough = 256;
  const std::string_view bytes(static_cast<const char*>(tensor.raw()),
                               std::min(tensor.bytes(), kEnough));
  return mix(std::hash<std::string_view>{}(bytes), tensor.bytes());
}

/// Equal values have equal hashes; the kinds that are not looked into are rare.
std::size_t hash_of(const Attribute& attribute) {
  if (const auto* tensor = std::get_if<Tensor>(&attribute)) return hash_of(*tensor);
  if (const auto* number = std::get_if<std::int64_t>(&attribute))
    return std::hash<std::int64_t>{}(*number);
  if (const auto* dtype = std::get_if<DType>(&attribute)) return static_cast<std::size_t>(*dtype);
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&attribute)) {
    std::size_t hash = list->size();
    for (const std::int64_t entry : *list) hash = mix(hash, static_cast<std::size_t>(entry));
    return hash;
  }
  return attribute.index();
}

/// Nodes by what they compute.
struct Hash {
  std::size_t operator()(const Node* node) const {
    std::size_t hash = std::hash<const void*>{}(&node->op());
    const bool unordered = node->op().traits.commutative;
    std::size_t inputs = 0;
    for (const Output& input : node->inputs()) {
      const std::size_t one = mix(slot(input), static_cast<std::size_t>(input.index()));
      inputs = unordered ? inputs + one : mix(inputs, one);
    }
    hash = mix(hash, inputs);
    std::size_t attributes = 0;
    for (const auto& [name, value] : node->attributes()) attributes += mix(1, hash_of(value));
    return mix(hash, attributes);
  }
};

struct Equal {
  /// Computed a second time, so that the first value need not be kept.
  static bool is_again(const Node& node) { return node.phase() == Phase::recompute; }

  bool operator()(const Node* a, const Node* b) const {
    if (&a->op() != &b->op() || a->device() != b->device() || is_again(*a) != is_again(*b))
      return false;
    const auto x = a->inputs(), y = b->inputs();
    const bool swapped = a->op().traits.commutative && x.size() == 2 && y.size() == 2 &&
                         x[0] == y[1] && x[1] == y[0];
    if (!swapped && !std::ranges::equal(x, y)) return false;
    return same_attributes(a->attributes(), b->attributes());
  }
};

class EliminateCommon : public NodePass {
 public:
  NodeRewrite rewrite(Node& node, NodeSweep&) override {
    if (!may_merge(node)) return {};
    if (nodes_.empty()) nodes_.reserve(node.graph().nodes().size());
    const auto [known, is_new] = nodes_.insert(&node);
    if (is_new) return {};
    return {(*known)->output(), "the same op of the same inputs"};
  }

 private:
  std::pmr::monotonic_buffer_resource memory_;  ///< freed at once
  std::pmr::unordered_set<Node*, Hash, Equal> nodes_{&memory_};
};

}  // namespace

std::unique_ptr<NodePass> make_eliminate_common() { return std::make_unique<EliminateCommon>(); }

}  // namespace gradgraph

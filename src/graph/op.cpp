#include "gradgraph/op.h"

#include <algorithm>

#include "core/text.h"
#include "graph/refusal.h"

namespace gradgraph {

namespace {

/// Counts the nodes that one question leads to. Vectors may be made of each other without end;
/// what is farther away than this counts as unknown.
class LookingBack {
 public:
  LookingBack() { seen_ = depth_++ == 0 ? 1 : seen_ + 1; }
  ~LookingBack() { --depth_; }
  LookingBack(const LookingBack&) = delete;
  LookingBack& operator=(const LookingBack&) = delete;

  static bool is_enough() { return seen_ > 100; }

 private:
  static thread_local int depth_, seen_;
};
thread_local int LookingBack::depth_ = 0;
thread_local int LookingBack::seen_ = 0;

}  // namespace

std::optional<Shape> known_vector(const Output& value) {
  const Node* node = &value.node();
  if (!node->op().vector_value || value.index() != 0 || value.dtype() != int64)
    return std::nullopt;
  // A view of a vector is that vector.
  while (node->op().traits.alias && node->op().vector_value && node->shape().rank() == 1 &&
         node->input(0).rank() == 1 && node->input(0).index() == 0)
    node = &node->input(0).node();
  const LookingBack looking_back;
  if (!node->op().vector_value || LookingBack::is_enough()) return std::nullopt;
  return node->op().vector_value(*node);
}

Shape InferContext::vector_value(int i) const {
  if (dtype(i) != int64 || rank(i) != 1 || shape(i)[0] == any)
    fail(fmt::format("input {} must be an int64 vector of known length", i));
  if (const auto known = known_vector(input(i))) return *known;
  // Beyond what a Shape can hold, but known all the same.
  const Attribute* value = input(i).node().attributes().find("value");
  if (const Tensor* tensor = value ? std::get_if<Tensor>(value) : nullptr)
    for (const std::int64_t entry : tensor->span<std::int64_t>())
      if (entry < any) fail(fmt::format("entry {} of input {} is below {}", entry, i, any));
  Shape unknown;
  for (std::int64_t axis = 0; axis < shape(i)[0]; ++axis) unknown.append(any);
  return unknown;
}

int InferContext::normalize_axis(std::int64_t axis, int rank) const {
  if (axis < -rank || axis >= rank)
    fail(fmt::format("axis {} is outside [{},{})", axis, -rank, rank));
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

void InferContext::require_inputs(int count) const {
  if (num_inputs() != count) fail(fmt::format("takes {} inputs, not {}", count, num_inputs()));
}

void InferContext::require_dtype(int i, std::initializer_list<DType> allowed) const {
  if (std::find(allowed.begin(), allowed.end(), dtype(i)) != allowed.end()) return;
  fail(fmt::format("input {} must be {}, not {}", i, fmt::join(allowed, " or "), dtype(i)));
}

void InferContext::require_floating(int i) const {
  if (!is_floating(dtype(i)))
    fail(fmt::format("input {} must be of a floating dtype, not {}", i, dtype(i)));
}

void InferContext::require_number(int i) const {
  if (!is_floating(dtype(i)) && !is_integer(dtype(i)))
    fail(fmt::format("input {} must be numbers, not {}", i, dtype(i)));
}

void InferContext::require_same_dtype(int i, int j) const {
  if (dtype(i) != dtype(j)) fail(fmt::format("dtypes differ: {} and {}", dtype(i), dtype(j)));
}

void InferContext::require_rank(int i, int rank) const {
  if (this->rank(i) != rank)
    fail(fmt::format("input {} must have {} axes, not {}", i, rank, this->rank(i)));
}

void InferContext::fail(const std::string& message) const {
  const std::string inputs = input_types(inputs_);
  throw BuildError(
      node_message(op_.name, node_name_, inputs.empty() ? message : message + ": " + inputs),
      where_);
}

OpDef& OpRegistry::add(OpDef op) {
  if (!op.infer) throw BuildError(fmt::format("op '{}' has no shape inference", op.name));
  if (ops_.contains(op.name))
    throw BuildError(fmt::format("op '{}' is registered already", op.name));
  auto owned = std::make_unique<OpDef>(std::move(op));
  OpDef& added = *owned;
  ops_.emplace(added.name, std::move(owned));
  return added;
}

const OpDef* OpRegistry::find(std::string_view name) const {
  const auto found = ops_.find(name);
  return found == ops_.end() ? nullptr : found->second.get();
}

const OpDef& OpRegistry::at(std::string_view name) const {
  if (const OpDef* op = find(name)) return *op;
  throw BuildError(fmt::format("there is no op '{}'", name));
}

std::vector<const OpDef*> OpRegistry::all() const {
  std::vector<const OpDef*> ops;
  for (const auto& [name, op] : ops_) ops.push_back(op.get());
  std::sort(ops.begin(), ops.end(), [](auto* a, auto* b) { return a->name < b->name; });
  return ops;
}

}  // namespace gradgraph

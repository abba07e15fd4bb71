#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/program.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/whole_graph_pass.h"

/// Gives a product of matrices what is done with each of its elements:
///
///     a ─┐                                a ─┐
///     b ─┴ matmul ── fused ──  becomes    b ─┤ matmul_with_epilogue ──
///     c ─────────────┘                    c ─┘
///
/// and likewise a gradient that is such a product the update of the variable that it is for.
namespace gradgraph {
namespace {

constexpr const char *kWithEpilogue = "matmul_with_epilogue", *kWithUpdate = "matmul_with_update";

/// Makes input `from` of the program input `to`, which comes before it.
void move_input(ElementwiseProgram& program, std::int32_t from, std::int32_t to) {
  const auto moved = [&](std::int32_t reg) {
    if (reg == from) return to;
    return reg >= to && reg < from ? reg + 1 : reg;
  };
  const auto begin = program.input_dtypes.begin();
  std::rotate(begin + to, begin + from, begin + from + 1);
  for (auto& instruction : program.instructions)
    for (std::int32_t& operand : instruction.operands) operand = moved(operand);
  for (std::int32_t& result : program.results) result = moved(result);
}

class EpilogueFusion : public WholeGraphPass {
 public:
  using WholeGraphPass::WholeGraphPass;

  void run() {
    // Readers in their order: what a new node reads has been rewritten before.
    for (Node* reader : topology_.order())
      for (int i = 0; i < reader->num_inputs(); ++i)
        if (can_fuse(reader->input(i).node(), *reader, i)) {
          if (!log_.is_spent()) fuse(reader->input(i).node(), *reader, i);
          break;
        }
  }

 private:
  bool can_fuse(const Node& product, const Node& reader, int index) const {
    const Traits& traits = reader.op().traits;
    const bool is_narrow = is_half(product.dtype());
    if (!matmul_.matches(product) || (product.dtype() != float32 && !is_narrow) ||
        topology_.readers(product).size() != 1 || product.input(0).rank() < 2 ||
        product.input(1).rank() != 2 || product.shape().num_elements() == 0 ||
        !has_one_matrix(product, reader))
      return false;
    // The product is now made where its reader runs, which may be after an update.
    if (reader.num_outputs() == 0 || reader.shape() != product.shape() ||
        reader.device() != product.device() || is_late(reader) ||
        !context_.has_kernel(product, traits.updates_variable ? kWithUpdate : kWithEpilogue))
      return false;
    if (!traits.updates_variable)
      return (reader.dtype() == float32 || (is_narrow && is_half(reader.dtype()))) &&
             (fused_.matches(reader) || context_.fuses(reader));
    // It must not read the variables while their new values are written.
    const auto updates = [&](const Output& value) {
      for (int i = 0; i < reader.num_outputs(); ++i)
        if (&reader.input(i).node() == &value.node()) return true;
      return false;
    };
    return fused_update_.matches(reader) && index >= reader.num_outputs() &&
           !updates(product.input(0)) && !updates(product.input(1));
  }

  /// Whether rows in several axes are, for both, those of one matrix.
  static bool has_one_matrix(const Node& product, const Node& reader) {
    if (product.input(0).rank() == 2) return true;
    if (product.attributes().get<bool>("transpose_a")) return false;
    const Shape& shape = product.shape();
    return std::ranges::all_of(reader.inputs(), [&](const Output& input) {
      const std::int64_t count = input.shape().num_elements();
      const bool is_row = input.rank() > 0 && input.shape()[input.rank() - 1] == count;
      return count == shape.num_elements() || count == 1 ||
             (is_row && count == shape[shape.rank() - 1]);
    });
  }

  void fuse(Node& product, Node& reader, int index) {
    const bool updates = reader.op().traits.updates_variable;
    const std::int32_t place = updates ? reader.num_outputs() : 0;
    ElementwiseProgram program = make_program(reader);
    move_input(program, index, place);
    std::vector<Output> inputs;
    for (int i = 0; i < place; ++i) inputs.push_back(reader.input(i));
    inputs.insert(inputs.end(), {product.input(0), product.input(1)});
    for (int i = place; i < reader.num_inputs(); ++i)
      if (i != index) inputs.push_back(reader.input(i));
    Attempt attempt(graph_, context_);
    Node& fused = graph_.add_in_place_of(
        reader, op_registry().at(updates ? kWithUpdate : kWithEpilogue), std::move(inputs),
        {{"transpose_a", product.attributes().get<bool>("transpose_a")},
         {"transpose_b", product.attributes().get<bool>("transpose_b")},
         {"program", std::make_shared<const ElementwiseProgram>(std::move(program))}});
    const auto describe = [&] {
      return fmt::format("'{}' takes in '{}'", product.name(), reader.name());
    };
    if (!attempt.succeeds(log_, describe)) return;
    for (const auto& other : topology_.readers(reader)) {
      if (other.index < 0)
        graph_.replace_control_input(*other.node, reader, fused);
      else
        graph_.set_input(*other.node, other.index,
                         fused.output(other.node->input(other.index).index()));
    }
  }

  const KnownOp matmul_{"matmul", {"transpose_a", "transpose_b"}};
  const KnownOp fused_{"fused", {"program"}}, fused_update_{"fused_update", {"program"}};
};

}  // namespace

void fuse_epilogue(Graph& graph, const PassContext& context, RewriteLog& log) {
  // Where products are a library's, it may add in another order than ours.
  if (context.exact || !has_any(graph, {"matmul"})) return;
  EpilogueFusion(graph, context, log).run();
}

}  // namespace gradgraph

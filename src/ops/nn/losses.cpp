#include "core/text.h"
#include "ops/builders.h"

/// Losses element by element, composed of other ops. Shapes that only broadcast are refused: of
/// [N,1] and [N] came a loss [N,N], whose mean looks like one.
namespace gradgraph {
namespace {

void require_alike(std::string_view op, std::string_view what, const Output& predicted,
                   std::string_view of_what, const Output& wanted, Where where) {
  const auto require = [&](bool holds, const std::string& fault) {
    if (!holds)
      throw BuildError(
          node_message(op, op,
                       fmt::format("{}: {} are {}{}, {} {}{}", fault, what, predicted.dtype(),
                                   predicted.shape(), of_what, wanted.dtype(), wanted.shape())),
          where);
  };
  require(is_floating(predicted.dtype()) && wanted.dtype() == predicted.dtype(),
          "both must be of one floating dtype (gg::cast)");
  require(wanted.rank() == 0 || predicted.shape().compatible_with(wanted.shape()),
          "they differ in shape");
}

/// What a prediction lies above its target.
Output error_of(std::string_view op, Output predictions, const Operand& targets, Where where) {
  graph_of(op, {predictions}, where);
  const Output wanted = targets.resolve(op, predictions, where);
  require_alike(op, "predictions", predictions, "targets", wanted, where);
  return sub(predictions, wanted, where);
}

}  // namespace

Output sigmoid_cross_entropy(Output logits, Output labels, Where where) {
  constexpr std::string_view kOp = "sigmoid_cross_entropy";
  BuildTransaction transaction(graph_of(kOp, {logits, labels}, where));
  require_alike(kOp, "logits", logits, "labels", labels, where);
  return transaction.commit(add(mul(labels, softplus(neg(logits, where), where), where),
                                mul(sub(1, labels, where), softplus(logits, where), where),
                                where));
}

Output squared_error(Output predictions, Operand targets, Where where) {
  BuildTransaction transaction(graph_of("squared_error", {predictions}, where));
  return transaction.commit(
      square(error_of("squared_error", predictions, targets, where), where));
}

Output absolute_error(Output predictions, Operand targets, Where where) {
  BuildTransaction transaction(graph_of("absolute_error", {predictions}, where));
  return transaction.commit(abs(error_of("absolute_error", predictions, targets, where), where));
}

Output huber_loss(Output predictions, Operand targets, double delta, Where where) {
  Graph& graph = graph_of("huber_loss", {predictions}, where);
  BuildTransaction transaction(graph);
  if (!(delta > 0))
    fail_to_build("huber_loss", graph, fmt::format("delta is {}, not above 0", delta), where);
  const Output error = error_of("huber_loss", predictions, targets, where);
  const Output near = clip(error, -delta, delta, where);
  return transaction.commit(mul(near, sub(error, mul(near, 0.5, where), where), where));
}

}  // namespace gradgraph

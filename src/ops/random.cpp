#include <cmath>

#include "core/text.h"
#include "ops/builders.h"

/// Draws from the counter-based generator. What a node draws depends on the session's seed, the
/// step, the node's name and the element's index alone.
namespace gradgraph {
namespace {

void infer_shaped(InferContext& context) {
  require_entries(context, 0, 0);
  const DType dtype = context.attribute<DType>("dtype");
  if (!is_floating(dtype))
    context.fail(fmt::format("draws numbers of a floating dtype, not {}", dtype));
  context.output(dtype, context.vector_value(0));
}

void infer_uniform(InferContext& context) {
  const double low = context.attribute<double>("low"), high = context.attribute<double>("high");
  if (!(low < high) || !std::isfinite(high - low))
    context.fail(fmt::format("[{},{}) is no interval", low, high));
  infer_shaped(context);
}

void infer_normal(InferContext& context) {
  const double mean = context.attribute<double>("mean");
  const double stddev = context.attribute<double>("stddev");
  if (!(stddev >= 0) || !std::isfinite(stddev) || !std::isfinite(mean))
    context.fail(fmt::format("no distribution has mean {} and stddev {}", mean, stddev));
  infer_shaped(context);
}

void infer_dropout_mask(InferContext& context) {
  context.require_dtype(1, {boolean});
  context.require_rank(1, 0);
  const double rate = context.attribute<double>("rate");
  if (!(rate >= 0 && rate < 1)) context.fail(fmt::format("rate {} is outside [0,1)", rate));
  infer_shaped(context);
}

Output draw(std::string_view op, Graph& graph, const IntVector& shape, Attributes attributes,
            Where where) {
  return make_with_vectors(op, graph, {shape}, where, std::move(attributes));
}

}  // namespace

Output random_uniform(Graph& graph, IntVector shape, DType dtype, double low, double high,
                      Where where) {
  return draw("random_uniform", graph, shape, {{"dtype", dtype}, {"low", low}, {"high", high}},
              where);
}

Output random_normal(Graph& graph, IntVector shape, DType dtype, double mean, double stddev,
                     Where where) {
  return draw("random_normal", graph, shape,
              {{"dtype", dtype}, {"mean", mean}, {"stddev", stddev}}, where);
}

Output truncated_normal(Graph& graph, IntVector shape, DType dtype, double mean, double stddev,
                        Where where) {
  return draw("truncated_normal", graph, shape,
              {{"dtype", dtype}, {"mean", mean}, {"stddev", stddev}}, where);
}

Output dropout_mask(IntVector shape, DType dtype, double rate, Output training, Where where) {
  Graph& graph = graph_of("dropout_mask", {training}, where);
  return make_with_vectors("dropout_mask", graph, {shape, training}, where,
                           {{"dtype", dtype}, {"rate", rate}});
}

Output dropout(Output x, double rate, Output training, Where where) {
  BuildTransaction transaction(graph_of("dropout", {x}, where));
  return transaction.commit(
      mul(x, dropout_mask(shape_of(x, where), x.dtype(), rate, training, where), where));
}

Output categorical(Output logits, std::int64_t axis, Where where) {
  Graph& graph = graph_of("categorical", {logits}, where);
  if (!is_floating(logits.dtype()))
    throw BuildError(node_message("categorical", "categorical",
                                  fmt::format("logits must be floating, not {}{}", logits.dtype(),
                                              logits.shape())),
                     where);
  BuildTransaction transaction(graph);
  const Output uniform =
      random_uniform(graph, shape_of(logits, where), logits.dtype(), 0, 1, where);
  // Of a draw of 0 comes -inf: never the largest, beside any other.
  const Output gumbel = neg(log(neg(log(uniform, where), where), where), where);
  return transaction.commit(
      argmax(add(stop_gradient(logits, where), gumbel, where), axis, false, where));
}

void register_random_ops(OpRegistry& registry) {
  const Traits draws = {.random = true,
                        .non_differentiable = true,
                        .static_inputs = 0b1,
                        .kernel_input = Traits::kOutput};
  registry.add({"random_uniform", draws, infer_uniform})
      .describe("evenly distributed numbers", {"shape"})
      .required_attribute<DType>("dtype", "of the numbers")
      .attribute("low", 0.0, "the least")
      .attribute("high", 1.0, "above all");
  registry.add({"random_normal", draws, infer_normal})
      .describe("normally distributed numbers", {"shape"})
      .required_attribute<DType>("dtype", "of the numbers")
      .attribute("mean", 0.0, "their mean")
      .attribute("stddev", 1.0, "their standard deviation");
  registry.add({"truncated_normal", draws, infer_normal})
      .describe("normally distributed numbers within two standard deviations", {"shape"})
      .required_attribute<DType>("dtype", "of the numbers")
      .attribute("mean", 0.0, "their mean")
      .attribute("stddev", 1.0, "their standard deviation");
  registry.add({"dropout_mask", draws, infer_dropout_mask})
      .describe("0 with a probability, else what makes the mean 1", {"x", "shape"})
      .required_attribute<DType>("dtype", "of the result")
      .required_attribute<double>("rate", "the probability of 0");
}

}  // namespace gradgraph

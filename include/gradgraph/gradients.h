#pragma once

#include <functional>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/operands.h"

namespace gradgraph GRADGRAPH_API {

/// What stands for the gradient by an x that no y depends on.
enum class Unconnected { zeros, empty };

struct GradientOptions {
  Unconnected unconnected = Unconnected::zeros;
};

/// The gradients of sum(ys) by each of `xs`, written as more graph, so that they can be
/// differentiated again. `grad_ys` weighs the ys; an empty one, or none at all, means ones. The
/// new nodes are named "gradients/<forward name>", point to the node that they differentiate, and
/// take over its line and requested device. ys and xs are floating; paths through other
/// dtypes carry nothing.
/// Throws GradientError when a path from an x to a y crosses an op without a gradient.
std::vector<Output> gradients(const std::vector<Output>& ys, const std::vector<Output>& xs,
                              const std::vector<Output>& grad_ys = {},
                              GradientOptions options = {},
                              SourceLocation where = SourceLocation::current());

/// `forward(inputs)` with a gradient of the user's own: `gradient(inputs, outputs, grads)`
/// returns one Output per input (empty for none). Throws BuildError where `forward` reads a
/// variable or placeholder that is not among the inputs, or computed from them: it would get no
/// gradient. Source: jax.custom_vjp.
std::vector<Output> custom_gradient(
    const std::vector<Output>& inputs,
    const std::function<std::vector<Output>(const std::vector<Output>&)>& forward,
    std::function<std::vector<Output>(const std::vector<Output>& inputs,
                                      const std::vector<Output>& outputs,
                                      const std::vector<Output>& grads)>
        gradient,
    SourceLocation where = SourceLocation::current());

/// Element by element into [low, high].
Output clip_by_value(Output x, Number low, Number high,
                     SourceLocation where = SourceLocation::current());
/// x scaled down to an L2 norm of at most `norm`; NaN where its norm is not finite.
Output clip_by_norm(Output x, double norm, SourceLocation where = SourceLocation::current());
/// All of `xs` scaled by one factor so that their joint L2 norm is at most `norm`, or NaN where
/// that is not finite; empty Outputs stay empty. Source: tf.clip_by_global_norm.
std::vector<Output> clip_by_global_norm(const std::vector<Output>& xs, double norm,
                                        SourceLocation where = SourceLocation::current());

}  // namespace gradgraph

#include "session/rewritten_copy.h"

#include <map>
#include <string>
#include <utility>

#include "device/device.h"
#include "graph/subgraph.h"
#include "placement/placement.h"
#include "session/checking/value_range.h"
#include "session/compiled_plan.h"
#include "session/evaluate.h"

namespace gradgraph {
namespace {

/// `devices` are those that nodes may ask for, and `evaluate` computes what is known already.
SpecializedGraph rewrite(const Graph& graph, const std::vector<FedValue>& feeds,
                         const std::vector<Output>& fetches, const SessionOptions& options,
                         const std::vector<std::string>& devices, const Evaluator& evaluate,
                         RewriteLog& log) {
  SpecializedGraph copy = specialize(graph, feeds, fetches, evaluate);
  if (verifies_stages) verify(*copy.graph);
  // The device that a node is meant for is the one it asks for, if that is there.
  const auto kind_for = [&](const Node& node) -> std::string_view {
    const int asked = node.device().empty() ? -1 : find_device(devices, node.device());
    return kind_of(asked < 0 ? options.device : devices[static_cast<std::size_t>(asked)]);
  };
  const KernelRegistry& kernels = kernel_registry();
  const auto has_kernel = [&](const Node& node, std::string_view op) {
    return kernels.has(op, kind_for(node), kernel_dtype(node));
  };
  const auto can_fuse = [&](const Node& node) {
    const auto fuses = kernels.preferences(kind_for(node)).can_fuse;
    return fuses && fuses(node) && has_kernel(node, "fused");
  };
  const auto prefers_nhwc = [&](const Node& node) {
    return kernels.preferences(kind_for(node)).nhwc;
  };
  const auto fewest_queries = [&](const Node& node) {
    return kernels.preferences(kind_for(node)).fewest_queries;
  };
  const auto takes_heads_inside = [&](const Node& node) {
    return kernels.preferences(kind_for(node)).heads_inside;
  };
  const auto most_merged = [&](const Node& node) {
    return kernels.preferences(kind_for(node)).most_merged;
  };
  run_passes(*copy.graph,
             {.fetches = copy.fetches,
              .exact = options.exact_rewrites,
              .precision = options.precision,
              .can_fuse = can_fuse,
              .has_kernel = has_kernel,
              .takes = [&](const Node& node) { return has_kernel_for(node, kind_for(node)); },
              .prefers_nhwc = prefers_nhwc,
              .fewest_queries = fewest_queries,
              .takes_heads_inside = takes_heads_inside,
              .most_merged = most_merged,
              .evaluate = evaluate},
             options.disabled_passes, log);
  if (log.count() > 0) prune(copy);
  return copy;
}

/// Which results of nodes that run subgraphs are needed, by node. Who waits for one needs all.
std::map<const Node*, std::vector<bool>> find_needed_results(const Graph& graph) {
  std::map<const Node*, std::vector<bool>> needed;
  for (const Node& node : graph.nodes()) {
    for (const Output& input : node.inputs()) {
      const Node& source = input.node();
      if (!source.op().traits.runs_subgraphs) continue;
      std::vector<bool>& results = needed[&source];
      results.resize(static_cast<std::size_t>(source.num_outputs()));
      results[static_cast<std::size_t>(input.index())] = true;
    }
    for (const Node* before : node.control_inputs())
      if (before->op().traits.runs_subgraphs)
        needed[before].assign(static_cast<std::size_t>(before->num_outputs()), true);
  }
  return needed;
}

/// Those of the nodes of `around`, and so on. They run on the host.
void rewrite_subgraphs(SpecializedGraph& around, const SessionOptions& options,
                       const Evaluator& evaluate, RewriteLog& log) {
  const auto needed = find_needed_results(*around.graph);
  for (const Node& node : around.graph->nodes()) {
    const auto found = needed.find(&node);
    if (found == needed.end()) continue;
    const auto needs = [&](std::size_t i) { return found->second[i]; };
    for_each_subgraph(node, [&](const Subgraph& subgraph) {
      std::vector<Output> results;
      for (std::size_t i = 0; i < subgraph.results.size(); ++i)
        if (needs(i)) results.push_back(subgraph.results[i]);
      SpecializedGraph copy = rewrite(graph_of(subgraph), fed_values(subgraph, node.inputs()),
                                      results, options, {"cpu"}, evaluate, log);
      std::vector<Node*> feeds, fetches;
      for (std::size_t next = 0; const Output& parameter : subgraph.parameters)
        feeds.push_back(parameter ? copy.feeds[next++] : nullptr);
      for (std::size_t i = 0, next = 0; i < subgraph.results.size(); ++i)
        fetches.push_back(needs(i) ? copy.fetches[next++] : nullptr);
      copy.feeds = std::move(feeds);
      copy.fetches = std::move(fetches);
      rewrite_subgraphs(copy, options, evaluate, log);
      around.subgraphs[&node].push_back(std::move(copy));
    });
  }
}

/// What computes nodes of constants but leaves to the run, which says so, what is not finite.
Evaluator without_faults(Evaluator evaluate) {
  return
      [evaluate = std::move(evaluate)](const Node& node) -> std::optional<std::vector<Tensor>> {
        auto values = evaluate(node);
        if (!values) return values;
        for (const Tensor& value : *values) {
          ValueRange range;
          range.add(value.dtype(), value.raw(), static_cast<std::size_t>(value.num_elements()));
          if (!range.is_finite()) return std::nullopt;
        }
        return values;
      };
}

/// Without rewrites, but for those that decide which values are stored in 16 bits.
SessionOptions as_written(SessionOptions options) {
  for (const Pass& pass : pass_list())
    if (pass.name != "lower_precision") options.disabled_passes.emplace_back(pass.name);
  return options;
}

SpecializedGraph rewritten_copy(const Graph& graph, const std::vector<FedValue>& feeds,
                                const std::vector<Output>& fetches, const SessionOptions& options,
                                const Evaluator& evaluate, RewriteLog& log) {
  SpecializedGraph copy =
      rewrite(graph, feeds, fetches, options, device_registry().names(), evaluate, log);
  SessionOptions on_host = options;
  on_host.device = "cpu";
  rewrite_subgraphs(copy, on_host, without_failures(evaluate), log);
  return copy;
}

}  // namespace

SpecializedGraph rewritten_copy(const Graph& graph, const std::vector<FedValue>& feeds,
                                const std::vector<Output>& fetches, const SessionOptions& options,
                                RewriteLog& log) {
  if (!options.check_numerics)
    return rewritten_copy(graph, feeds, fetches, options, host_evaluator(), log);
  return rewritten_copy(graph, feeds, fetches, as_written(options),
                        without_faults(host_evaluator()), log);
}

bool has_kernel_for(const Node& node, std::string_view device_kind) {
  const Traits& traits = node.op().traits;
  return traits.no_kernel || traits.moves_value || kernel_registry().supports(node, device_kind);
}

}  // namespace gradgraph

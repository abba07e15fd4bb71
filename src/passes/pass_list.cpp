#include "passes/pass_list.h"

#include <algorithm>

#include "core/text.h"
#include "graph/program.h"
#include "passes/rewrites.h"
#include "passes/rewriting/node_sweep.h"
#include "passes/topology.h"

namespace gradgraph {

std::vector<Pass>& pass_list() {
  static std::vector<Pass> passes = {
      {.name = "simplify", .make = make_simplify},
      {.name = "eliminate_moves", .make = make_eliminate_moves},
      {.name = "fold_constants", .make = make_fold_constants},
      {.name = "eliminate_common", .make = make_eliminate_common},
      {.name = "assign_layout", .run = assign_layout},
      {.name = "lower_precision", .run = lower_precision},
      {.name = "fuse_pooling", .run = fuse_pooling},
      {.name = "fuse_cross_entropy", .run = fuse_cross_entropy},
      {.name = "lower_bias_add", .make = make_lower_bias_add, .only = "bias_add"},
      {.name = "fuse_attention", .run = fuse_attention},
      {.name = "merge_products", .run = merge_products},
      {.name = "fuse_elementwise", .run = fuse_elementwise},
      {.name = "fuse_epilogue", .run = fuse_epilogue},
      {.name = "fuse_reductions", .run = fuse_reductions},
      {.name = "merge_elementwise", .run = merge_elementwise},
      {.name = "fuse_parts", .run = fuse_parts},
  };
  return passes;
}

bool PassContext::fuses(const Node& node) const { return is_instruction(node) && can_fuse(node); }

void RewriteLog::enter(std::string_view pass) {
  const auto known =
      std::ranges::find(counts_, pass, &std::pair<std::string_view, std::int64_t>::first);
  current_ = static_cast<std::size_t>(known - counts_.begin());
  if (known == counts_.end()) counts_.emplace_back(pass, 0);
}

std::int64_t RewriteLog::count() const {
  std::int64_t total = 0;
  for (const auto& [pass, count] : counts_) total += count;
  return total;
}

std::int64_t RewriteLog::count(std::string_view pass) const {
  for (const auto& [name, count] : counts_)
    if (name == pass) return count;
  return 0;
}

void run_passes(Graph& graph, const PassContext& context,
                const std::vector<std::string>& disabled, RewriteLog& log) {
  const auto is_enabled = [&](const Pass& pass) {
    return std::ranges::find(disabled, pass.name) == disabled.end();
  };
  for (auto pass = pass_list().begin(); pass != pass_list().end();) {
    if (!is_enabled(*pass)) {
      ++pass;
    } else if (pass->run) {
      log.enter(pass->name);
      pass->run(graph, context, log);
      ++pass;
    } else {
      NodeSweep sweep(graph, context, log);
      for (; pass != pass_list().end() && pass->make; ++pass)
        if (is_enabled(*pass) && (pass->only.empty() || has_any(graph, {pass->only})))
          sweep.add(pass->name, pass->make());
      sweep.run();
    }
  }
}

}  // namespace gradgraph

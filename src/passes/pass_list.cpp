#include "passes/pass_list.h"

#include <algorithm>

#include "core/text.h"

namespace gradgraph {

const std::vector<Pass>& pass_list() {
  static const std::vector<Pass> passes = {
      {"assign_layout", assign_layout},
      {"fuse_pooling", fuse_pooling},
      {"fuse_elementwise", fuse_elementwise},
      {"fuse_epilogue", fuse_epilogue},
  };
  return passes;
}

std::vector<std::string> run_passes(Graph& graph, const PassContext& context,
                                    const std::vector<std::string>& disabled) {
  for (const std::string& name : disabled)
    if (std::ranges::find(pass_list(), name, &Pass::name) == pass_list().end())
      throw RunError(fmt::format("there is no pass '{}'", name));
  std::vector<std::string> lines;
  for (const Pass& pass : pass_list()) {
    if (std::ranges::find(disabled, pass.name) != disabled.end()) continue;
    for (const std::string& rewrite : pass.run(graph, context))
      lines.push_back(fmt::format("{}: {}", pass.name, rewrite));
  }
  return lines;
}

}  // namespace gradgraph

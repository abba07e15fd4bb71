/// Bodies of the runtime API's functions that capture streams, and for graphs.

#include <algorithm>

#include "cuda_emulation/engine.h"

using cuda_emulation::Capture;
using cuda_emulation::Engine;
using cuda_emulation::engine;
using cuda_emulation::issue;
using cuda_emulation::Kind;
using cuda_emulation::Node;
using cuda_emulation::result;
using cuda_emulation::Stamp;
using cuda_emulation::Work;

namespace {

bool is_same_node(const Node& a, const Node& b) {
  return a.work.kind == b.work.kind && a.work.what == b.work.what &&
         a.dependencies == b.dependencies;
}

/// Runs a graph's nodes in some order that their dependencies allow.
void run_nodes(const std::vector<Node>& nodes, const Work& launch) {
  Engine& device = engine();
  std::vector<std::size_t> missing(nodes.size()), able;
  std::vector<std::vector<bool>> before(nodes.size(), std::vector<bool>(nodes.size()));
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if ((missing[i] = nodes[i].dependencies.size()) == 0) able.push_back(i);
    for (const std::size_t dependency : nodes[i].dependencies) {
      before[i][dependency] = true;
      for (std::size_t j = 0; j < dependency; ++j)
        if (before[dependency][j]) before[i][j] = true;
    }
  }
  while (!able.empty()) {
    std::sort(able.begin(), able.end());
    const std::size_t at = device.choose(able.size());
    const std::size_t node = able[at];
    able.erase(able.begin() + static_cast<std::ptrdiff_t>(at));
    const Stamp stamp{launch.stamp.stream, launch.stamp.count, node};
    device.run(nodes[node].work, {stamp, &launch.before, &before[node]});
    for (std::size_t i = node + 1; i < nodes.size(); ++i)
      for (const std::size_t dependency : nodes[i].dependencies)
        if (dependency == node && --missing[i] == 0) able.push_back(i);
  }
}

}  // namespace

namespace cuda_emulation {

std::string changed_values(cudaGraph_t first, cudaGraph_t second) {
  if (first->nodes.size() != second->nodes.size()) return "the numbers of nodes";
  for (std::size_t i = 0; i < first->nodes.size(); ++i) {
    const Node &a = first->nodes[i], &b = second->nodes[i];
    const std::string node = "node " + std::to_string(i);
    if (!is_same_node(a, b)) return node + " is another";
    for (std::size_t j = 0; j < a.work.arguments.size(); ++j)
      if (a.work.arguments[j] != b.work.arguments[j])
        return node + ", " + source_of(a.work.what) + ": argument " + std::to_string(j);
  }
  return "";
}

}  // namespace cuda_emulation

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const std::scoped_lock lock(engine().mutex);
  if (!stream) return result(cudaErrorStreamCaptureUnsupported);
  if (stream->capture) return result(cudaErrorIllegalState);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->global = mode == cudaStreamCaptureModeGlobal;
  engine().captures += stream->capture->global;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::scoped_lock lock(engine().mutex);
  *graph = nullptr;
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture || capture->origin != stream) return result(cudaErrorStreamCaptureUnmatched);
  std::vector<bool> followed(capture->nodes.size());
  for (const Node& node : capture->nodes)
    for (const std::size_t dependency : node.dependencies) followed[dependency] = true;
  for (const std::size_t node : stream->tail) followed[node] = true;
  capture->active = false;
  engine().captures -= capture->global;
  for (CUstream_st* each : engine().streams) {
    if (each->capture != capture) continue;
    each->capture = nullptr;
    each->tail.clear();
  }
  if (capture->invalid) return result(cudaErrorStreamCaptureInvalidated);
  if (std::find(followed.begin(), followed.end(), false) != followed.end())
    return result(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{std::move(capture->nodes)};
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const std::scoped_lock lock(engine().mutex);
  *status = !stream || !stream->capture ? cudaStreamCaptureStatusNone
            : stream->capture->invalid  ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new CUgraphExec_st{std::make_shared<const std::vector<Node>>(graph->nodes)};
  return cudaSuccess;
}
/// New arguments for the same nodes; launches that were issued before keep theirs.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* info) {
  const bool fits = std::equal(executable->nodes->begin(), executable->nodes->end(),
                               graph->nodes.begin(), graph->nodes.end(), is_same_node);
  *info = {};
  info->result = fits ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
  if (!fits) return result(cudaErrorGraphExecUpdateFailure);
  executable->nodes = std::make_shared<const std::vector<Node>>(graph->nodes);
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (stream && stream->capture) return result(cudaErrorStreamCaptureUnsupported);
  const auto run = [nodes = executable->nodes](const Work& self) -> std::string {
    return run_nodes(*nodes, self), "";
  };
  return issue(stream, {.kind = Kind::graph, .what = executable, .run = run});
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, std::size_t* count) {
  return *count = graph->nodes.size(), cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return delete executable, cudaSuccess;
}

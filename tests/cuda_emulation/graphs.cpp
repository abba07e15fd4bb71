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
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  engine().captures += mode != cudaStreamCaptureModeRelaxed;
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
  for (std::size_t node = 0; node < followed.size(); ++node)
    if (capture->nodes[node].is_left) followed[node] = true;
  capture->active = false;
  engine().captures -= capture->mode != cudaStreamCaptureModeRelaxed;
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

// Handles of nodes that are being captured are their numbers, from 1 on.
namespace {

cudaError_t capture_info(cudaStream_t stream, cudaStreamCaptureStatus* status,
                         const cudaGraphNode_t** dependencies, std::size_t* count) {
  if (const cudaError_t error = cudaStreamIsCapturing(stream, status)) return error;
  const std::scoped_lock lock(engine().mutex);
  if (!stream->capture) return cudaSuccess;
  stream->tail_handles.clear();
  for (const std::size_t node : stream->tail)
    stream->tail_handles.push_back(reinterpret_cast<cudaGraphNode_t>(node + 1));
  if (dependencies) *dependencies = stream->tail_handles.data();
  if (count) *count = stream->tail_handles.size();
  return cudaSuccess;
}

cudaError_t update_dependencies(cudaStream_t stream, const cudaGraphNode_t* dependencies,
                                std::size_t count, unsigned flags) {
  const std::scoped_lock lock(engine().mutex);
  if (!stream || !stream->capture) return result(cudaErrorIllegalState);
  Capture& capture = *stream->capture;
  if (flags == cudaStreamSetCaptureDependencies) {
    for (const std::size_t node : stream->tail) capture.nodes[node].is_left = true;
    stream->tail.clear();
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t node = reinterpret_cast<std::uintptr_t>(dependencies[i]) - 1;
    if (node >= capture.nodes.size()) return result(cudaErrorInvalidValue);
    if (std::find(stream->tail.begin(), stream->tail.end(), node) == stream->tail.end())
      stream->tail.push_back(node);
  }
  return cudaSuccess;
}

}  // namespace

#if CUDART_VERSION >= 13000
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long*, cudaGraph_t*,
                                     const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, std::size_t* count) {
  if (edges) *edges = nullptr;
  return capture_info(stream, status, dependencies, count);
}
cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream,
                                                cudaGraphNode_t* dependencies,
                                                const cudaGraphEdgeData*, std::size_t count,
                                                unsigned flags) {
  return update_dependencies(stream, dependencies, count, flags);
}
#else
cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                        unsigned long long*, cudaGraph_t*,
                                        const cudaGraphNode_t** dependencies,
                                        std::size_t* count) {
  return capture_info(stream, status, dependencies, count);
}
cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream,
                                                cudaGraphNode_t* dependencies, std::size_t count,
                                                unsigned flags) {
  return update_dependencies(stream, dependencies, count, flags);
}
#endif

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  if (engine().refuses_graphs) return result(cudaErrorMemoryAllocation);
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

#include "device/cuda/capture.h"

#include <algorithm>

#include "device/cuda/status.h"
#include "device/cuda/stream.h"

namespace gradgraph::cuda {
namespace {

class CapturedGraph final : public Recording {
 public:
  CapturedGraph(const Device& device, int number, cudaStream_t stream, cudaGraph_t graph)
      : device_(device), number_(number), stream_(stream) {
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    cuda::check(status, device_.name(), "making a graph of a step");
    cuda::check(cudaGraphUpload(executable_, stream_), device_.name(), "loading a graph");
  }
  ~CapturedGraph() override {
    use_device(number_);
    cudaGraphExecDestroy(executable_);
  }
  void replay() override {
    use_device(number_);
    cuda::check(cudaGraphLaunch(executable_, stream_), device_.name(), "launching a graph");
  }

 private:
  const Device& device_;
  int number_;
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace

CaptureRecorder::CaptureRecorder(const Device& device, int number, cudaStream_t stream, int turns,
                                 std::function<void()> prepare)
    : device_(device),
      number_(number),
      stream_(stream),
      prepare_(std::move(prepare)),
      last_user_(static_cast<std::size_t>(turns)) {}

void CaptureRecorder::check(cudaError_t status) const {
  cuda::check(status, device_.name(), "recording a step");
}

void CaptureRecorder::begin() {
  use_device(number_);
  prepare_();
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  is_recording_ = true;
  pieces_ = 0;
  ends_.clear();
  std::ranges::fill(last_user_, -1);
  next_turn_ = 0;
}

void CaptureRecorder::begin_piece(std::span<const int> waits) {
  if (pieces_++ > 0) ends_.push_back(dependencies());
  Nodes nodes;
  for (const int piece : waits) {
    const Nodes& end = ends_[static_cast<std::size_t>(piece)];
    nodes.insert(nodes.end(), end.begin(), end.end());
  }
  set_dependencies(nodes, cudaStreamSetCaptureDependencies);
}

std::unique_ptr<Recording> CaptureRecorder::end() {
  is_recording_ = false;
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream_, &graph));
  return std::make_unique<CapturedGraph>(device_, number_, stream_, graph);
}

std::size_t CaptureRecorder::take_turn() {
  if (!is_recording_) return 0;
  const std::size_t turn = next_turn_++ % last_user_.size();
  const int piece = pieces_ - 1;
  if (const int user = last_user_[turn]; user >= 0 && user != piece) {
    Nodes nodes = ends_[static_cast<std::size_t>(user)];
    set_dependencies(nodes, cudaStreamAddCaptureDependencies);
  }
  last_user_[turn] = piece;
  return turn;
}

CaptureRecorder::Nodes CaptureRecorder::dependencies() const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long id = 0;
  const cudaGraphNode_t* nodes = nullptr;
  std::size_t count = 0;
#if CUDART_VERSION >= 13000
  const cudaGraphEdgeData* edges = nullptr;
  check(cudaStreamGetCaptureInfo(stream_, &status, &id, nullptr, &nodes, &edges, &count));
#else
  check(cudaStreamGetCaptureInfo_v2(stream_, &status, &id, nullptr, &nodes, &count));
#endif
  return {nodes, nodes + count};
}

void CaptureRecorder::set_dependencies(Nodes& nodes, unsigned flags) {
#if CUDART_VERSION >= 13000
  check(cudaStreamUpdateCaptureDependencies(stream_, nodes.data(), nullptr, nodes.size(), flags));
#else
  check(cudaStreamUpdateCaptureDependencies(stream_, nodes.data(), nodes.size(), flags));
#endif
}

}  // namespace gradgraph::cuda

#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <vector>

#include "device/device.h"

namespace gradgraph::cuda {

/// Records a stream's work as a CUDA graph, whose nodes depend on what their pieces wait for.
class CaptureRecorder final : public Recorder {
 public:
  /// `turns`: how many of something there are that pieces which run side by side cannot share.
  /// `prepare` is called before anything is recorded.
  CaptureRecorder(const Device& device, int number, cudaStream_t stream, int turns,
                  std::function<void()> prepare);

  void begin() override;
  void begin_piece(std::span<const int> waits) override;
  std::unique_ptr<Recording> end() override;

  /// One of `turns`, which the piece that is being recorded has for itself: it also waits for the
  /// piece that had it before. 0 while nothing is recorded.
  std::size_t take_turn();

 private:
  using Nodes = std::vector<cudaGraphNode_t>;
  void check(cudaError_t status) const;
  /// What the stream's next work would depend on.
  Nodes dependencies() const;
  void set_dependencies(Nodes& nodes, unsigned flags);

  const Device& device_;
  int number_;
  cudaStream_t stream_;
  std::function<void()> prepare_;
  bool is_recording_ = false;
  int pieces_ = 0;
  std::vector<Nodes> ends_;     ///< by piece that is complete: what waiting for it means
  std::vector<int> last_user_;  ///< by turn: a piece, or -1
  std::size_t next_turn_ = 0;
};

}  // namespace gradgraph::cuda

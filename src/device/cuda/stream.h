#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <memory>

#include "device/cuda/capture.h"
#include "device/cuda/cublas.h"
#include "device/cuda/refused.h"
#include "device/device.h"

namespace gradgraph::cuda {

/// Makes a GPU the calling thread's current one: every call to the runtime begins so.
void use_device(int number);

class CudaEvent final : public Event {
 public:
  CudaEvent(const Device& device, int number);
  ~CudaEvent() override;
  double seconds_since(const Event& earlier) const override;
  cudaEvent_t native() const { return event_; }

 private:
  const Device& device_;
  int number_;
  cudaEvent_t event_ = nullptr;
};

class CudaStream final : public Stream {
 public:
  CudaStream(Device& device, int number);
  ~CudaStream() override;

  void launch(const Launch& launch) override;
  void copy(void* to, const void* from, std::size_t bytes, CopyKind kind) override;
  void record(Event& event) override;
  void wait(Event& event) override;
  void synchronize() override;
  void check() override;
  Recorder* recorder() override;

  // --- For kernels, while they are issued ---

  cudaStream_t native() const { return stream_; }
  /// With work memory that nothing else uses until what is issued next is done.
  cublasHandle_t cublas();
  void clear(void* memory, std::size_t bytes);  ///< to zeros
  /// Where a kernel notes that it refuses a value.
  RefusalSlot refusal_slot() const;
  /// What tells an update to do nothing.
  Stopper stopper() const;

 private:
  int number_;
  cudaStream_t stream_ = nullptr;
  Refusals* refusals_ = nullptr;
  Refused* refused_on_host_ = nullptr;  ///< as many as Refusals has launches
  cublasHandle_t cublas_ = nullptr;
  void provide_workspace(void*& workspace);
  /// Products that may run side by side, as they are recorded, have one each: those behind the
  /// first come before the first recording, which must not allocate.
  std::array<void*, 4> cublas_workspaces_ = {};
  std::unique_ptr<CaptureRecorder> recorder_;
  const Launch* launch_ = nullptr;  ///< the one that is being issued
};

}  // namespace gradgraph::cuda

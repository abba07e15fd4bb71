#include "device/cuda/stream.h"

#include <algorithm>
#include <span>

#include "device/cuda/status.h"
#include "device/shared/index_error.h"

namespace gradgraph::cuda {
namespace {

/// What cuBLAS wants on an H100 at most; given by us, it allocates nothing itself.
constexpr std::size_t kCublasWorkspace = std::size_t{32} << 20;

KernelError error_of(const Refused& refused) {
  return refused.message ? KernelError(refused.message)
                         : index_error(refused.index, refused.number, refused.size);
}

}  // namespace

void use_device(int number) {
  int current = -1;
  if (cudaGetDevice(&current) != cudaSuccess || current != number) cudaSetDevice(number);
}

CudaEvent::CudaEvent(const Device& device, int number) : device_(device), number_(number) {
  use_device(number_);
  cuda::check(cudaEventCreateWithFlags(&event_, cudaEventDefault), device.name(),
              "making an event");
}

CudaEvent::~CudaEvent() {
  use_device(number_);
  cudaEventDestroy(event_);
}

double CudaEvent::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  cuda::check(
      cudaEventElapsedTime(&milliseconds, static_cast<const CudaEvent&>(earlier).event_, event_),
      device_.name(), "reading an event's time");
  return static_cast<double>(milliseconds) * 1e-3;
}

CudaStream::CudaStream(Device& device, int number) : Stream(device), number_(number) {
  use_device(number_);
  const auto require = [&](cudaError_t status) {
    cuda::check(status, device.name(), "making a stream");
  };
  require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  require(cudaMalloc(reinterpret_cast<void**>(&refusals_), sizeof(Refusals)));
  require(cudaMemsetAsync(refusals_, 0, sizeof(Refusals), stream_));
  require(cudaHostAlloc(reinterpret_cast<void**>(&refused_on_host_),
                        kRefusingSteps * sizeof(Refused),
                        cudaHostAllocMapped | cudaHostAllocPortable));
  std::fill_n(refused_on_host_, kRefusingSteps, Refused());
}

CudaStream::~CudaStream() {
  use_device(number_);
  cudaStreamSynchronize(stream_);
  if (cublas_) cuda::cublas().cublasDestroy_v2(cublas_);
  for (void* workspace : cublas_workspaces_) cudaFree(workspace);
  cudaFreeHost(refused_on_host_);
  cudaFree(refusals_);
  cudaStreamDestroy(stream_);
}

void CudaStream::launch(const Launch& launch) {
  use_device(number_);
  launch_ = &launch;
  execute(launch, launch.args);
}

void CudaStream::copy(void* to, const void* from, std::size_t bytes, CopyKind kind) {
  if (bytes == 0) return;
  use_device(number_);
  const cudaMemcpyKind direction = kind == CopyKind::to_device ? cudaMemcpyHostToDevice
                                   : kind == CopyKind::to_host ? cudaMemcpyDeviceToHost
                                   : kind == CopyKind::within  ? cudaMemcpyDeviceToDevice
                                                               : cudaMemcpyDefault;
  cuda::check(cudaMemcpyAsync(to, from, bytes, direction, stream_), device().name(), "copying");
}

void CudaStream::record(Event& event) {
  use_device(number_);
  cuda::check(cudaEventRecord(static_cast<CudaEvent&>(event).native(), stream_), device().name(),
              "recording an event");
}

void CudaStream::wait(Event& event) {
  use_device(number_);
  cuda::check(cudaStreamWaitEvent(stream_, static_cast<CudaEvent&>(event).native(), 0),
              device().name(), "waiting for an event");
}

void CudaStream::synchronize() {
  use_device(number_);
  cuda::check(cudaStreamSynchronize(stream_), device().name(), "running a step");
}

void CudaStream::check() {
  const Launch* earliest = nullptr;
  Refused first;
  for (const Refused& refused : std::span(refused_on_host_, kRefusingSteps)) {
    const auto* const launch = reinterpret_cast<const Launch*>(refused.launch);
    if (!launch || (earliest && earliest->step < launch->step)) continue;
    earliest = launch;
    first = refused;
  }
  if (!earliest) return;
  std::fill_n(refused_on_host_, kRefusingSteps, Refused());
  use_device(number_);
  cuda::check(cudaMemsetAsync(refusals_, 0, sizeof(Refusals), stream_), device().name(),
              "forgetting an error");
  throw RefusedValue(*earliest, error_of(first));
}

Recorder* CudaStream::recorder() {
  if (!recorder_)
    recorder_ = std::make_unique<CaptureRecorder>(
        device(), number_, stream_, static_cast<int>(cublas_workspaces_.size()), [this] {
          if (cublas_)
            for (void*& workspace : cublas_workspaces_) provide_workspace(workspace);
        });
  return recorder_.get();
}

void CudaStream::provide_workspace(void*& workspace) {
  if (!workspace)
    cuda::check(cudaMalloc(&workspace, kCublasWorkspace), device().name(), "memory for cuBLAS");
}

cublasHandle_t CudaStream::cublas() {
  const Cublas& library = cuda::cublas();
  if (!cublas_) {
    check_cublas(library.cublasCreate_v2(&cublas_), "starting cuBLAS");
    check_cublas(library.cublasSetStream_v2(cublas_, stream_), "giving cuBLAS a stream");
    provide_workspace(cublas_workspaces_[0]);
  }
  check_cublas(
      library.cublasSetWorkspace_v2(
          cublas_, cublas_workspaces_[recorder_ ? recorder_->take_turn() : 0], kCublasWorkspace),
      "giving cuBLAS its memory");
  return cublas_;
}

void CudaStream::clear(void* memory, std::size_t bytes) {
  cuda::check(cudaMemsetAsync(memory, 0, bytes, stream_), device().name(), "clearing memory");
}

RefusalSlot CudaStream::refusal_slot() const {
  const int place = launch_->step % kRefusingSteps;
  return {.first = &refusals_->launches[place],
          .earliest = &refusals_->earliest,
          .host = refused_on_host_ + place,
          .launch = reinterpret_cast<std::uintptr_t>(launch_),
          .rank = rank_of(launch_->step)};
}

Stopper CudaStream::stopper() const {
  if (!launch_->is_update) return {};
  return {&refusals_->earliest, rank_of(launch_->step)};
}

}  // namespace gradgraph::cuda

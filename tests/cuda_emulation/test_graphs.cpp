/// Captured graphs: replays, edges, what cannot be captured, and products in them.

#include <thread>

#include "cuda_emulation/demo.h"
#include "cuda_emulation/helpers.h"
#include "cuda_emulation/libraries.h"

namespace cuda_emulation {
namespace {

constexpr std::size_t kSize = 64, kBytes = kSize * sizeof(float);
using Floats = std::vector<float>;
using Results = std::vector<Floats>;

/// A step on two streams: in := in + in, then b := in + in and c := b + in.
struct Step {
  Stream one, two;
  Event forked, joined;
  Array<float> b{kSize}, c{kSize};

  /// `waits`: c waits for b. `joins`: the capture ends with both streams.
  cudaError_t capture(float* in, bool waits, bool joins, cudaGraph_t* graph) {
    REQUIRE_OK(cudaStreamBeginCapture(one, cudaStreamCaptureModeGlobal));
    REQUIRE_OK(demo::add_relu(in, in, in, kSize, 1, one));
    REQUIRE_OK(cudaEventRecord(forked, one));
    REQUIRE_OK(cudaStreamWaitEvent(two, forked, 0));
    REQUIRE_OK(demo::add_relu(in, in, b, kSize, 1, two));
    REQUIRE_OK(cudaEventRecord(joined, two));
    if (waits) REQUIRE_OK(cudaStreamWaitEvent(one, joined, 0));
    REQUIRE_OK(demo::add_relu(b, in, c, kSize, 1, one));
    if (joins) REQUIRE_OK(cudaStreamWaitEvent(one, joined, 0));
    const cudaError_t status = cudaStreamEndCapture(one, graph);
    (void)cudaGetLastError();
    return status;
  }
};

cudaGraphExec_t instantiate(cudaGraph_t graph) {
  cudaGraphExec_t executable = nullptr;
  REQUIRE_OK(cudaGraphInstantiate(&executable, graph, 0));
  REQUIRE_OK(cudaGraphDestroy(graph));
  return executable;
}

TEST_CASE("emulated graphs: replays keep the order, and a missing edge shows") {
  Step step;
  Array<float> a(kSize);
  const auto run = [&](bool waits) {
    return [&, waits] {
      const Floats in(kSize, 1.0f);
      Floats out(kSize);
      REQUIRE_OK(cudaMemsetAsync(step.b, 0, kBytes, step.one));
      REQUIRE_OK(cudaMemcpyAsync(a, in.data(), kBytes, cudaMemcpyHostToDevice, step.one));
      REQUIRE_OK(cudaStreamSynchronize(step.one));
      cudaGraph_t graph = nullptr;
      REQUIRE_OK(step.capture(a, waits, true, &graph));
      const cudaGraphExec_t executable = instantiate(graph);
      const std::uint64_t before = kernels_run();
      for (int i = 0; i < 3; ++i) REQUIRE_OK(cudaGraphLaunch(executable, step.one));
      REQUIRE_OK(cudaMemcpyAsync(out.data(), step.c, kBytes, cudaMemcpyDeviceToHost, step.one));
      REQUIRE_OK(cudaStreamSynchronize(step.one));
      CHECK(kernels_run() == before + 9);
      REQUIRE_OK(cudaGraphExecDestroy(executable));
      return out;
    };
  };
  CHECK(results(run(true)) == Results{Floats(kSize, 24.0f)});
  CHECK(results(run(false), plain_settings()).size() > 1);
}

TEST_CASE("emulated graphs: what cannot be captured") {
  Step step;
  Array<float> a(kSize);
  cudaGraph_t graph = nullptr;
  void* memory = nullptr;
  CHECK(step.capture(a, false, false, &graph) == cudaErrorStreamCaptureUnjoined);

  REQUIRE_OK(cudaStreamBeginCapture(step.one, cudaStreamCaptureModeGlobal));
  CHECK_GIVES(cudaErrorStreamCaptureUnsupported, cudaStreamSynchronize(step.one));
  CHECK_GIVES(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(step.one, &graph));

  for (const auto mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal}) {
    REQUIRE_OK(cudaStreamBeginCapture(step.one, mode));
    CHECK_GIVES(cudaErrorStreamCaptureUnsupported, cudaMalloc(&memory, 4));
    CHECK_GIVES(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(step.one, &graph));
  }
  REQUIRE_OK(cudaStreamBeginCapture(step.one, cudaStreamCaptureModeThreadLocal));
  std::thread([] {
    void* other = nullptr;
    REQUIRE_OK(cudaMalloc(&other, 4));
    REQUIRE_OK(cudaFree(other));
  }).join();
  REQUIRE_OK(cudaStreamEndCapture(step.one, &graph));
  REQUIRE_OK(cudaGraphDestroy(graph));

  REQUIRE_OK(cudaEventRecord(step.forked, step.two));
  REQUIRE_OK(cudaStreamBeginCapture(step.one, cudaStreamCaptureModeGlobal));
  CHECK_GIVES(cudaErrorStreamCaptureIsolation, cudaStreamWaitEvent(step.one, step.forked, 0));
  CHECK_GIVES(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(step.one, &graph));
}

#if CUDART_VERSION >= 13000
/// b := a + a, then c := b + a.
TEST_CASE("emulated graphs: work that is told what to wait for waits for that alone") {
  const auto run = [](bool waits) {
    return [waits] {
      const Stream stream;
      Array<float> a(Floats(kSize, 1.0f)), b(Floats(kSize, 0.0f)), c(Floats(kSize, 0.0f));
      cudaGraph_t graph = nullptr;
      REQUIRE_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      REQUIRE_OK(demo::add_relu(a, a, b, kSize, 1, stream));
      cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
      const cudaGraphNode_t* nodes = nullptr;
      const cudaGraphEdgeData* edges = nullptr;
      std::size_t count = 0;
      REQUIRE_OK(
          cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, &nodes, &edges, &count));
      REQUIRE(status == cudaStreamCaptureStatusActive);
      REQUIRE(count == 1);
      cudaGraphNode_t first = nodes[0];
      REQUIRE_OK(cudaStreamUpdateCaptureDependencies(stream, &first, nullptr, waits ? 1 : 0,
                                                     cudaStreamSetCaptureDependencies));
      REQUIRE_OK(demo::add_relu(b, a, c, kSize, 1, stream));
      REQUIRE_OK(cudaStreamEndCapture(stream, &graph));
      const cudaGraphExec_t executable = instantiate(graph);
      REQUIRE_OK(cudaGraphLaunch(executable, stream));
      REQUIRE_OK(cudaStreamSynchronize(stream));
      REQUIRE_OK(cudaGraphExecDestroy(executable));
      return c.values();
    };
  };
  CHECK(results(run(true)) == Results{Floats(kSize, 3.0f)});
  CHECK(results(run(false), plain_settings()).size() > 1);
}
#endif

TEST_CASE("emulated graphs: an update gives new addresses to the same nodes only") {
  Step step;
  Array<float> a(Floats(kSize, 5.0f)), other(Floats(kSize, 1.0f));
  cudaGraph_t first = nullptr, second = nullptr, third = nullptr;
  REQUIRE_OK(step.capture(a, true, true, &first));
  REQUIRE_OK(step.capture(other, true, true, &second));
  REQUIRE_OK(step.capture(other, false, true, &third));
  const cudaGraphExec_t executable = instantiate(first);
  cudaGraphExecUpdateResultInfo info;
  REQUIRE_OK(cudaGraphExecUpdate(executable, second, &info));
  REQUIRE_OK(cudaGraphLaunch(executable, step.one));
  REQUIRE_OK(cudaStreamSynchronize(step.one));
  CHECK(step.c.values()[5] == 6.0f);
  CHECK_GIVES(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(executable, third, &info));
  REQUIRE_OK(cudaGraphExecDestroy(executable));
  REQUIRE_OK(cudaGraphDestroy(second));
  REQUIRE_OK(cudaGraphDestroy(third));
}

// --- cuBLAS ----------------------------------------------------------------------------------

struct cublasContext;
using Handle = cublasContext*;

template <class Function>
Function* cublas(std::string_view name) {
  void* const function = cublas_function(name);
  REQUIRE(function != nullptr);
  return reinterpret_cast<Function*>(function);
}
using Sgemm = int(Handle, int, int, int, int, int, const float*, const float*, int, const float*,
                  int, const float*, float*, int);

TEST_CASE("emulated cuBLAS: a product is work of a stream, checked and captured") {
  const Stream stream;
  Array<float> a(kSize), b(kSize);
  Handle handle = nullptr;
  REQUIRE(cublas<int(Handle*)>("cublasCreate_v2")(&handle) == 0);
  REQUIRE(cublas<int(Handle, cudaStream_t)>("cublasSetStream_v2")(handle, stream) == 0);
  auto* const sgemm = cublas<Sgemm>("cublasSgemm_v2");
  const float by = 1, keep = 0;
  // Row-major [4,8] = [4,2] [2,8] is column-major [8,4] = [8,2] [2,4].
  const auto run = [&] {
    Floats in(kSize), out(32);
    for (std::size_t i = 0; i < kSize; ++i) in[i] = static_cast<float>(i);
    REQUIRE_OK(cudaMemcpyAsync(a, in.data(), kBytes, cudaMemcpyHostToDevice, stream));
    REQUIRE_OK(cudaStreamSynchronize(stream));
    cudaGraph_t graph = nullptr;
    REQUIRE_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK(sgemm(handle, 0, 0, 8, 4, 2, &by, a, 8, a, 2, &keep, b, 8) == 0);
    REQUIRE_OK(cudaStreamEndCapture(stream, &graph));
    const cudaGraphExec_t executable = instantiate(graph);
    REQUIRE_OK(cudaGraphLaunch(executable, stream));
    REQUIRE_OK(cudaMemcpyAsync(out.data(), b, 128, cudaMemcpyDeviceToHost, stream));
    REQUIRE_OK(cudaStreamSynchronize(stream));
    REQUIRE_OK(cudaGraphExecDestroy(executable));
    CHECK(out[8 + 3] == 2 * 3 + 3 * 11);
    return out;
  };
  CHECK(results(run).size() == 1);
  // A leading dimension that is too short, and a matrix that is longer than its memory.
  CHECK(sgemm(handle, 0, 0, 8, 4, 2, &by, a, 7, a, 2, &keep, b, 8) == 7);
  CHECK(sgemm(handle, 0, 0, 8, 9, 2, &by, a, 8, a, 2, &keep, b, 8) == 13);
  CHECK(take_error().find("not in one piece of device memory") != std::string::npos);
  CHECK(cublas_function("cublasNotThere") == nullptr);
  REQUIRE(cublas<int(Handle)>("cublasDestroy_v2")(handle) == 0);
}

}  // namespace
}  // namespace cuda_emulation

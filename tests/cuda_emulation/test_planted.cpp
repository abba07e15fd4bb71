/// Mistakes that kernels and their callers can make, planted: what is found in any build.

#include <array>

#include "cuda_emulation/helpers.h"
#include "cuda_emulation/planted.h"

namespace cuda_emulation {
namespace {

constexpr std::size_t kSize = kPlantedSize;

TEST_CASE("planted faults: barriers and shuffles that not all come to") {
  const auto at_b = [](auto function) -> Issue {
    return [function](float*, float* b, cudaStream_t stream) { return function(b, stream); };
  };
  const auto some = [](auto function) -> Issue {
    return [function](float*, float* b, cudaStream_t stream) { return function(b, 20, stream); };
  };
  CHECK_NAMES(error_of({}, some(planted::barrier_in_branch)), "different barriers", "planted.cu");
  CHECK_NAMES(error_of({}, some(planted::early_return)), "others of their block have ended",
              "planted.cu");
  CHECK_NAMES(error_of({}, at_b(planted::shuffle_in_branch)), "a warp waits", "planted.cu");
  CHECK_NAMES(error_of({}, at_b(planted::warp_too_short)), "takes no part", "planted.cu");
}

TEST_CASE("planted faults: a missing barrier shows in the order of threads") {
  CHECK(shows_in_orders([](float* a, float* b, cudaStream_t stream) {
    return planted::reverse_without_barrier(reinterpret_cast<int*>(a), reinterpret_cast<int*>(b),
                                            stream);
  }));
}

TEST_CASE("planted faults: a sum by atomics whose order shows") {
  CHECK(shows_in_orders([](float* a, float* b, cudaStream_t stream) {
    return planted::float_atomics(a, b, 128, stream);
  }));
}

TEST_CASE("planted faults: memory of an argument freed before a replay") {
  const Stream stream;
  float* freed = nullptr;
  REQUIRE_OK(cudaMalloc(reinterpret_cast<void**>(&freed), kSize * sizeof(float)));
  Array<float> out(kSize);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  REQUIRE_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  REQUIRE_OK(planted::add_step(freed, out, 1, stream));
  REQUIRE_OK(cudaStreamEndCapture(stream, &graph));
  REQUIRE_OK(cudaGraphInstantiate(&executable, graph, 0));
  REQUIRE_OK(cudaFree(freed));
  REQUIRE_OK(cudaGraphLaunch(executable, stream));
  CHECK(cudaStreamSynchronize(stream) == cudaErrorLaunchFailure);
  CHECK_NAMES(take_error(), "argument 0 was freed before it ran", "step_kernel");
  REQUIRE_OK(cudaGraphExecDestroy(executable));
  REQUIRE_OK(cudaGraphDestroy(graph));
}

TEST_CASE("planted faults: staging memory freed before its copy") {
  configure({.pace = Pace::lazy});
  const Stream stream;
  Array<float> a(kSize);
  void* staging = nullptr;
  REQUIRE_OK(cudaMallocHost(&staging, kSize * sizeof(float)));
  REQUIRE_OK(cudaMemcpyAsync(a, staging, kSize * sizeof(float), cudaMemcpyHostToDevice, stream));
  REQUIRE_OK(cudaFreeHost(staging));
  CHECK(cudaStreamSynchronize(stream) == cudaErrorLaunchFailure);
  CHECK_NAMES(take_error(), "memory of a copy was freed", "");
  configure({});
}

TEST_CASE("planted faults: captures that keep a value of the host") {
  const Stream stream;
  Array<float> a(std::vector<float>(kSize, 1.0f)), b(kSize);
  const auto capture = [&](int step) {
    cudaGraph_t graph = nullptr;
    REQUIRE_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    REQUIRE_OK(planted::add_step(a, b, step, stream));
    REQUIRE_OK(cudaStreamEndCapture(stream, &graph));
    return graph;
  };
  const std::array graphs{capture(1), capture(2), capture(2)};
  CHECK_NAMES(changed_values(graphs[0], graphs[1]), "argument 2", "step_kernel");
  CHECK(changed_values(graphs[1], graphs[2]) == "");
  for (const cudaGraph_t graph : graphs) REQUIRE_OK(cudaGraphDestroy(graph));

  float ordinary[4] = {};
  cudaGraph_t graph = nullptr;
  REQUIRE_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  CHECK_GIVES(cudaErrorStreamCaptureUnsupported,
              cudaMemcpyAsync(a, ordinary, sizeof ordinary, cudaMemcpyHostToDevice, stream));
  REQUIRE_OK(cudaStreamEndCapture(stream, &graph));
  REQUIRE_OK(cudaGraphDestroy(graph));
}

}  // namespace
}  // namespace cuda_emulation

/// Mistakes that kernels and their callers can make, planted, and what finds each.

#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "cuda_emulation/helpers.h"
#include "cuda_emulation/planted.h"

namespace cuda_emulation {
namespace {

constexpr std::size_t kSize = 128;
using Issue = std::function<cudaError_t(float*, float*, cudaStream_t)>;

/// What is there before, in two arrays: in `a`, and in `b` if `b_is_written`.
std::string error_of(const Settings& settings, const Issue& issue, bool b_is_written = false) {
  configure(settings);
  const Stream stream;
  std::vector<float> values(kSize);
  for (std::size_t i = 0; i < kSize; ++i) values[i] = 1 + 0.1f * static_cast<float>(i * i % 100);
  Array<float> a(values), b(kSize);
  if (b_is_written) REQUIRE_OK(cudaMemsetAsync(b, 0, kSize * sizeof(float), stream));
  REQUIRE_OK(issue(a, b, stream));
  const bool failed = cudaStreamSynchronize(stream) != cudaSuccess;
  const std::string error = take_error();
  CHECK(failed == !error.empty());
  configure({});
  return error;
}

const Settings kPlain{}, kChecked{.check = true};

/// Which of the results of orders differ; device work must not fail.
bool shows_in_orders(const Issue& issue) {
  return results([&] {
           const Stream stream;
           std::vector<float> values(kSize);
           for (std::size_t i = 0; i < kSize; ++i)
             values[i] = 1 + 0.1f * static_cast<float>(i * i % 100);
           Array<float> a(values), b(std::vector<float>(kSize, 0.0f));
           REQUIRE_OK(issue(a, b, stream));
           REQUIRE_OK(cudaStreamSynchronize(stream));
           return b.values();
         }).size() > 1;
}

#define CHECK_NAMES(error, what, function)           \
  do {                                               \
    const std::string text = error;                  \
    CAPTURE(text);                                   \
    CHECK(text.find(what) != std::string::npos);     \
    CHECK(text.find(function) != std::string::npos); \
  } while (false)

TEST_CASE("planted faults: a missing barrier") {
  const Issue reverse = [](float* a, float* b, cudaStream_t stream) {
    return planted::reverse_without_barrier(reinterpret_cast<int*>(a), reinterpret_cast<int*>(b),
                                            stream);
  };
  CHECK_NAMES(error_of(kChecked, reverse), "unordered", "planted.cu");
}

TEST_CASE("planted faults: additions that are not atomic") {
  const Issue shared = [](float*, float* b, cudaStream_t stream) {
    return planted::count_without_atomic(reinterpret_cast<int*>(b), stream);
  };
  const Issue global = [](float*, float* b, cudaStream_t stream) {
    return planted::count_in_global_without_atomic(reinterpret_cast<int*>(b), stream);
  };
  CHECK_NAMES(error_of(kChecked, shared), "unordered", "planted.cu");
  CHECK_NAMES(error_of(kChecked, global, true), "unordered", "planted.cu");
}

TEST_CASE("planted faults: an element too many") {
  const Issue global = [](float* a, float* b, cudaStream_t stream) {
    return planted::add_past_the_end(a, b, 128, stream);
  };
  const Issue dynamic = [](float*, float* b, cudaStream_t stream) {
    return planted::dynamic_shared_past_the_end(b, stream);
  };
  const Issue of_static = [](float*, float* b, cudaStream_t stream) {
    return planted::shared_past_the_end(b, stream);
  };
  CHECK_NAMES(error_of(kPlain, of_static), "an index out of bounds", "planted.cu");
  CHECK_NAMES(error_of(kPlain, dynamic), "no memory", "dynamic_past_kernel");
  CHECK_NAMES(error_of(kChecked, dynamic), "out of bounds", "planted.cu");
  // Without checks the page behind faults.
  CHECK_NAMES(error_of(kPlain, global), "not allocated", "past_kernel");
  CHECK_NAMES(error_of(kChecked, global), "out of bounds", "planted.cu");
}

TEST_CASE("planted faults: barriers and shuffles that not all come to") {
  const auto at_b = [](auto function) -> Issue {
    return [function](float*, float* b, cudaStream_t stream) { return function(b, stream); };
  };
  const auto some = [](auto function) -> Issue {
    return [function](float*, float* b, cudaStream_t stream) { return function(b, 20, stream); };
  };
  CHECK_NAMES(error_of(kPlain, some(planted::barrier_in_branch)), "different barriers",
              "planted.cu");
  CHECK_NAMES(error_of(kPlain, some(planted::early_return)), "others of their block have ended",
              "planted.cu");
  CHECK_NAMES(error_of(kPlain, at_b(planted::shuffle_in_branch)), "a warp waits", "planted.cu");
  CHECK_NAMES(error_of(kPlain, at_b(planted::warp_too_short)), "takes no part", "planted.cu");
}

#ifndef __clang__  // copies a float4 by memcpy, which knows no alignment
TEST_CASE("planted faults: a misaligned vector") {
  const Issue issue = [](float* a, float* b, cudaStream_t stream) {
    return planted::misaligned(a, b, stream);
  };
  CHECK_NAMES(error_of(kChecked, issue), "misaligned", "planted.cu");
}
#endif

TEST_CASE("planted faults: a read of memory never written") {
  const Issue issue = [](float*, float* b, cudaStream_t stream) {
    return planted::reads_unwritten(b, stream);
  };
  CHECK_NAMES(error_of(kChecked, issue), "nobody has written", "planted.cu");
  CHECK(error_of(kChecked, issue, true) == "");
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

/// What a process that touches an address says before it dies of that.
std::string last_words(const float* address) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    const float value = *static_cast<const volatile float*>(address);
    _exit(value < 0 ? 1 : 0);
  }
  close(ends[1]);
  std::string words(200, '\0');
  words.resize(static_cast<std::size_t>(std::max<ssize_t>(0, read(ends[0], words.data(), 200))));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) != WIFSIGNALED(status));
  return WIFSIGNALED(status) || WEXITSTATUS(status) != 0 ? words : "";
}

TEST_CASE("planted faults: host code touches a device's memory") {
  for (const Pace pace : {Pace::eager, Pace::lazy}) {
    configure({.pace = pace});
    const Stream stream;
    Array<float> a(kSize);
    REQUIRE_OK(cudaMemsetAsync(a, 0, kSize * sizeof(float), stream));
    REQUIRE_OK(cudaStreamSynchronize(stream));
    CHECK_NAMES(last_words(a), "host code touches", "a device's memory");
    const float own = 1;
    CHECK(last_words(&own) == "");
  }
  configure({});
}

}  // namespace
}  // namespace cuda_emulation

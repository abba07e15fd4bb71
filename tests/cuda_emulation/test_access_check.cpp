/// Planted mistakes that the checks of accesses find, and the pages that fault. Programs that
/// sanitizers watch have neither: test_sanitizers.cpp.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "cuda_emulation/helpers.h"
#include "cuda_emulation/planted.h"

namespace cuda_emulation {
namespace {

constexpr std::size_t kSize = kPlantedSize;

TEST_CASE("planted faults: a missing barrier") {
  const Issue reverse = [](float* a, float* b, cudaStream_t stream) {
    return planted::reverse_without_barrier(reinterpret_cast<int*>(a), reinterpret_cast<int*>(b),
                                            stream);
  };
  CHECK_NAMES(error_of({.check = true}, reverse), "unordered", "planted.cu");
}

TEST_CASE("planted faults: additions that are not atomic") {
  const Issue shared = [](float*, float* b, cudaStream_t stream) {
    return planted::count_without_atomic(reinterpret_cast<int*>(b), stream);
  };
  const Issue global = [](float*, float* b, cudaStream_t stream) {
    return planted::count_in_global_without_atomic(reinterpret_cast<int*>(b), stream);
  };
  CHECK_NAMES(error_of({.check = true}, shared), "unordered", "planted.cu");
  CHECK_NAMES(error_of({.check = true}, global, true), "unordered", "planted.cu");
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
  CHECK_NAMES(error_of({}, of_static), "an index out of bounds", "planted.cu");
  CHECK_NAMES(error_of({}, dynamic), "no memory", "dynamic_past_kernel");
  CHECK_NAMES(error_of({.check = true}, dynamic), "out of bounds", "planted.cu");
  // Without checks the page behind faults.
  CHECK_NAMES(error_of({}, global), "not allocated", "past_kernel");
  CHECK_NAMES(error_of({.check = true}, global), "out of bounds", "planted.cu");
}

#ifndef __clang__  // copies a float4 by memcpy, which knows no alignment
TEST_CASE("planted faults: a misaligned vector") {
  const Issue issue = [](float* a, float* b, cudaStream_t stream) {
    return planted::misaligned(a, b, stream);
  };
  CHECK_NAMES(error_of({.check = true}, issue), "misaligned", "planted.cu");
}
#endif

TEST_CASE("planted faults: a read of memory never written") {
  const Issue issue = [](float*, float* b, cudaStream_t stream) {
    return planted::reads_unwritten(b, stream);
  };
  CHECK_NAMES(error_of({.check = true}, issue), "nobody has written", "planted.cu");
  CHECK(error_of({.check = true}, issue, true) == "");
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

TEST_CASE("planted faults: an element too many of a value, with another behind it") {
  const auto half = [](float* memory) { return Range{memory, kSize / 2 * sizeof(float)}; };
  const auto sum_of = [&](int count) -> Issue {
    return [=](float* a, float* b, cudaStream_t stream) {
      const OperandScope scope({half(a), half(b)}, {});
      return planted::add_past_the_end(a, b, count, stream);
    };
  };
  CHECK(error_of({.check = true}, sum_of(kSize / 2 - 1), true) == "");
  CHECK_NAMES(error_of({.check = true}, sum_of(kSize / 2), true), "beside the operands",
              "planted.cu");
  const Issue copy = [&](float* a, float* b, cudaStream_t stream) {
    const OperandScope scope({half(a), half(b)}, {});
    return cudaMemcpyAsync(b, a, half(a).bytes + 1, cudaMemcpyDeviceToDevice, stream);
  };
  CHECK_NAMES(error_of({.check = true}, copy, true), "beside the operands", "by a copy");
}

TEST_CASE("planted faults: a read of what another value left behind") {
  const Issue issue = [](float*, float* b, cudaStream_t stream) {
    const OperandScope scope({}, {{b, sizeof(float)}});
    return planted::reads_unwritten(b, stream);
  };
  CHECK_NAMES(error_of({.check = true}, issue, true), "nobody has written", "planted.cu");
}

enum class Wait { none, of_stream, of_host };

/// Work of one stream, then of another, in that order, but for a wait by chance.
std::string error_of_two(const Issue& first, const Issue& second, Wait wait) {
  const Stream other;
  const Event done;
  const Issue both = [&](float* a, float* b, cudaStream_t stream) {
    REQUIRE_OK(first(a, b, stream));
    REQUIRE_OK(cudaEventRecord(done, stream));
    if (wait == Wait::of_stream) REQUIRE_OK(cudaStreamWaitEvent(other, done, 0));
    if (wait == Wait::of_host) REQUIRE_OK(cudaEventSynchronize(done));
    (void)second(a, b, other);  // may have run, and failed
    return cudaSuccess;
  };
  return error_of({.pace = Pace::eager, .check = true}, both, true);
}

TEST_CASE("planted faults: a race between streams without an event") {
  const auto bytes = kSize * sizeof(float);
  std::vector<float> host(kSize);
  const Issue write = [](float* a, float* b, cudaStream_t stream) {
    return planted::add_step(a, b, 1, stream);
  };
  const Issue read = [](float* a, float* b, cudaStream_t stream) {
    return planted::add_step(b, a, 1, stream);
  };
  const Issue fill = [=](float*, float* b, cudaStream_t stream) {
    return cudaMemsetAsync(b, 0, bytes, stream);
  };
  const Issue fetch = [&](float*, float* b, cudaStream_t stream) {
    return cudaMemcpyAsync(host.data(), b, bytes, cudaMemcpyDeviceToHost, stream);
  };
  CHECK_NAMES(error_of_two(write, read, Wait::none), "a read beside an unordered write",
              "by planted::(anonymous namespace)::step_kernel");
  CHECK_NAMES(error_of_two(read, write, Wait::none), "unordered", "step_kernel");
  CHECK_NAMES(error_of_two(write, write, Wait::none), "two unordered writes", "step_kernel");
  CHECK_NAMES(error_of_two(write, fill, Wait::none), "two unordered writes", "step_kernel");
  CHECK_NAMES(error_of_two(fill, read, Wait::none), "a read beside", "a copy or library");
  CHECK_NAMES(error_of_two(write, fetch, Wait::none), "a read beside", "step_kernel");
  CHECK_NAMES(error_of_two(fetch, write, Wait::none), "a write beside", "a copy or library");
  CHECK(error_of_two(read, fetch, Wait::none) == "");
  for (const Issue& first : {write, read, fill, fetch})
    for (const Issue& second : {write, read, fill, fetch})
      for (const Wait wait : {Wait::of_stream, Wait::of_host})
        CHECK(error_of_two(first, second, wait) == "");
}

TEST_CASE("planted faults: a captured graph without an edge") {
  configure({.check = true});
  const Stream one, two;
  const Event forked, joined;
  Array<float> a(std::vector<float>(kSize, 1.0f)), b(kSize), c(kSize);
  for (const bool waits : {true, false}) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    REQUIRE_OK(cudaStreamBeginCapture(one, cudaStreamCaptureModeGlobal));
    REQUIRE_OK(cudaEventRecord(forked, one));
    REQUIRE_OK(cudaStreamWaitEvent(two, forked, 0));
    REQUIRE_OK(planted::add_step(a, b, 1, two));
    REQUIRE_OK(cudaEventRecord(joined, two));
    if (waits) REQUIRE_OK(cudaStreamWaitEvent(one, joined, 0));
    REQUIRE_OK(planted::add_step(b, c, 1, one));
    if (!waits) REQUIRE_OK(cudaStreamWaitEvent(one, joined, 0));
    REQUIRE_OK(cudaStreamEndCapture(one, &graph));
    REQUIRE_OK(cudaGraphInstantiate(&executable, graph, 0));
    // Replays follow each other.
    for (int i = 0; i < 2; ++i) REQUIRE_OK(cudaGraphLaunch(executable, one));
    const bool failed = cudaStreamSynchronize(one) != cudaSuccess;
    CHECK(failed == !waits);
    if (failed) CHECK_NAMES(take_error(), "beside an unordered", "step_kernel");
    REQUIRE_OK(cudaGraphExecDestroy(executable));
    REQUIRE_OK(cudaGraphDestroy(graph));
  }
  configure({});
}

TEST_CASE("planted faults: a fetch of what nobody has written") {
  std::vector<float> host(kSize);
  const Issue fetch = [&](float*, float* b, cudaStream_t stream) {
    return cudaMemcpyAsync(host.data(), b, kSize * sizeof(float), cudaMemcpyDeviceToHost, stream);
  };
  CHECK_NAMES(error_of({.check = true}, fetch), "nobody has written", "by a copy");
  CHECK(error_of({.check = true}, fetch, true) == "");
}

TEST_CASE("planted faults: a kernel touches another device's memory") {
  REQUIRE_OK(cudaSetDevice(1));
  float* other = nullptr;
  REQUIRE_OK(cudaMalloc(reinterpret_cast<void**>(&other), kSize * sizeof(float)));
  REQUIRE_OK(cudaSetDevice(0));
  const Issue issue = [&](float*, float* b, cudaStream_t stream) {
    return planted::add_step(other, b, 1, stream);
  };
  CHECK_NAMES(error_of({}, issue), "not allocated on its device", "step_kernel");
  REQUIRE_OK(cudaFree(other));
}

TEST_CASE("planted faults: a kernel touches the host's memory, which is not pinned") {
  const std::vector<float> ordinary(kSize, 1.0f);
  float* pinned = nullptr;
  REQUIRE_OK(cudaMallocHost(reinterpret_cast<void**>(&pinned), kSize * sizeof(float)));
  std::copy(ordinary.begin(), ordinary.end(), pinned);
  const auto from = [](const float* memory) -> Issue {
    return [memory](float*, float* b, cudaStream_t stream) {
      return planted::add_step(memory, b, 1, stream);
    };
  };
  CHECK_NAMES(error_of({.check = true}, from(ordinary.data())), "the host's memory",
              "planted.cu");
  CHECK(error_of({.check = true}, from(pinned)) == "");
  REQUIRE_OK(cudaFreeHost(pinned));
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

/// Streams, events and misuse: what is ordered gives the same bits in every order and at every
/// pace, and what is not is seen.

#include "cuda_emulation/demo.h"
#include "cuda_emulation/helpers.h"

namespace cuda_emulation {
namespace {

constexpr std::size_t kSize = 64, kBytes = kSize * sizeof(float);
using Floats = std::vector<float>;
using Results = std::vector<Floats>;

TEST_CASE("emulated streams: an event orders them, and its absence shows") {
  const Stream one, two;
  const Event done;
  Array<float> a(kSize), b(kSize);
  const auto run = [&](bool wait) {
    return [&, wait] {
      REQUIRE_OK(cudaMemsetAsync(a, 0, kBytes, one));
      REQUIRE_OK(cudaMemsetAsync(b, 0, kBytes, one));
      REQUIRE_OK(cudaStreamSynchronize(one));
      const Floats in(kSize, 3.0f);
      Floats out(kSize);
      REQUIRE_OK(cudaMemcpyAsync(a, in.data(), kBytes, cudaMemcpyHostToDevice, one));
      REQUIRE_OK(demo::add_relu(a, a, a, kSize, 1, one));
      REQUIRE_OK(cudaEventRecord(done, one));
      if (wait) REQUIRE_OK(cudaStreamWaitEvent(two, done, 0));
      REQUIRE_OK(demo::add_relu(a, b, b, kSize, 1, two));
      REQUIRE_OK(cudaMemcpyAsync(out.data(), b, kBytes, cudaMemcpyDeviceToHost, two));
      REQUIRE_OK(cudaStreamSynchronize(two));
      REQUIRE_OK(cudaStreamSynchronize(one));
      return out;
    };
  };
  CHECK(results(run(true)) == Results{Floats(kSize, 6.0f)});
  CHECK(results(run(false), plain_settings()).size() > 1);
}

TEST_CASE("emulated streams: a host that does not wait for a fetch is seen") {
  const Stream stream;
  const Event done;
  Array<float> a(kSize);
  const auto run = [&](bool wait) {
    return [&, wait] {
      Floats out(kSize, -1.0f);
      REQUIRE_OK(cudaMemsetAsync(a, 0, kBytes, stream));
      REQUIRE_OK(cudaMemcpyAsync(out.data(), a, kBytes, cudaMemcpyDeviceToHost, stream));
      REQUIRE_OK(cudaEventRecord(done, stream));
      if (wait) REQUIRE_OK(cudaEventSynchronize(done));
      const Floats seen = out;
      REQUIRE_OK(cudaStreamSynchronize(stream));
      return seen;
    };
  };
  CHECK(results(run(true)) == Results{Floats(kSize, 0.0f)});
  CHECK(results(run(false), plain_settings()).size() > 1);
}

TEST_CASE("emulated streams: a feed that changes too early is seen") {
  const Stream stream;
  Array<float> a(kSize);
  const auto run = [&](bool wait) {
    return [&, wait] {
      Floats in(kSize, 1.0f), out(kSize);
      REQUIRE_OK(cudaMemcpyAsync(a, in.data(), kBytes, cudaMemcpyHostToDevice, stream));
      if (wait) REQUIRE_OK(cudaStreamSynchronize(stream));
      in.assign(kSize, 2.0f);
      REQUIRE_OK(cudaMemcpyAsync(out.data(), a, kBytes, cudaMemcpyDeviceToHost, stream));
      REQUIRE_OK(cudaStreamSynchronize(stream));
      return out;
    };
  };
  CHECK(results(run(true)) == Results{Floats(kSize, 1.0f)});
  CHECK(results(run(false), plain_settings()).size() > 1);
}

TEST_CASE("emulated streams: a host that polls lets lazy work go on") {
  const Stream stream;
  const Event done;
  Array<float> a(kSize);
  configure({Order::forward, 1, Pace::lazy});
  REQUIRE_OK(cudaMemsetAsync(a, 0, kBytes, stream));
  REQUIRE_OK(cudaEventRecord(done, stream));
  CHECK(cudaEventQuery(done) == cudaErrorNotReady);
  while (cudaEventQuery(done) == cudaErrorNotReady) {
  }
  REQUIRE_OK(cudaStreamQuery(stream));
  configure({});
}

TEST_CASE("emulated devices: each has memory of its own, with a limit") {
  std::size_t free = 0, total = 0;
  set_memory_limit(1, 4 * kBytes);
  REQUIRE_OK(cudaSetDevice(1));
  float *first = nullptr, *second = nullptr;
  REQUIRE_OK(cudaMalloc(reinterpret_cast<void**>(&first), kBytes));
  CHECK(live_allocations(1) == 1);
  REQUIRE_OK(cudaMemGetInfo(&free, &total));
  CHECK(free == 3 * kBytes);
  CHECK(total == 4 * kBytes);
  CHECK_GIVES(cudaErrorMemoryAllocation,
              cudaMalloc(reinterpret_cast<void**>(&second), 3 * kBytes + 1));
  REQUIRE_OK(cudaMalloc(reinterpret_cast<void**>(&second), 3 * kBytes));
  REQUIRE_OK(cudaFree(second));
  set_memory_limit(1, std::size_t{1} << 30);
  {
    const Stream stream;
    REQUIRE_OK(cudaSetDevice(0));
    Array<float> here(Floats(kSize, 2.0f));
    CHECK_GIVES(cudaErrorInvalidResourceHandle, demo::add_relu(here, here, here, 64, 1, stream));
    REQUIRE_OK(cudaSetDevice(1));
    REQUIRE_OK(cudaMemcpyPeerAsync(first, 1, here, 0, kBytes, stream));
    REQUIRE_OK(demo::add_relu(first, first, first, kSize, 1, stream));
    Floats out(kSize);
    REQUIRE_OK(cudaMemcpyAsync(out.data(), first, kBytes, cudaMemcpyDeviceToHost, stream));
    REQUIRE_OK(cudaStreamSynchronize(stream));
    CHECK(out == Floats(kSize, 4.0f));
    REQUIRE_OK(cudaFree(first));
  }
  REQUIRE_OK(cudaSetDevice(0));
}

TEST_CASE("emulated devices: machines without a driver or a GPU") {
  int count = -1, version = -1;
  set_machine({.devices = 0, .driver = 0, .status = cudaErrorInsufficientDriver});
  CHECK_GIVES(cudaErrorInsufficientDriver, cudaGetDeviceCount(&count));
  REQUIRE_OK(cudaDriverGetVersion(&version));
  CHECK(version == 0);
  CHECK_GIVES(cudaErrorInvalidDevice, cudaSetDevice(0));
  set_machine({});
  REQUIRE_OK(cudaGetDeviceCount(&count));
  CHECK(count == 2);
  CHECK_GIVES(cudaErrorInvalidDevice, cudaSetDevice(2));
}

TEST_CASE("emulated devices: what the runtime refuses") {
  const Stream stream;
  Array<float> a(kSize), b(kSize);
  Floats host(kSize);
  float* freed = nullptr;
  REQUIRE_OK(cudaMalloc(reinterpret_cast<void**>(&freed), kBytes));
  REQUIRE_OK(cudaFree(freed));
  const auto copy = [&](float* to, std::size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpy(to, host.data(), bytes, kind);
  };
  CHECK_GIVES(cudaErrorInvalidValue, copy(freed, kBytes, cudaMemcpyHostToDevice));
  CHECK_GIVES(cudaErrorInvalidValue, copy(a, kBytes, cudaMemcpyDeviceToHost));
  CHECK_GIVES(cudaErrorInvalidValue, copy(a, kBytes + 1, cudaMemcpyHostToDevice));
  CHECK_GIVES(cudaErrorInvalidValue, cudaFree(freed));
  CHECK_GIVES(cudaErrorInvalidResourceHandle, demo::add_relu(a, a, b, 32, 1, nullptr));
  CHECK_GIVES(cudaErrorInvalidConfiguration, demo::add_relu(a, a, b, 32, 0, stream));
  CHECK_GIVES(cudaErrorInvalidConfiguration, demo::scan(nullptr, nullptr, 1025, stream));
  CHECK_GIVES(cudaErrorInvalidValue, demo::softmax(a, b, 1, 20000, stream));
}

TEST_CASE("emulated devices: a GPU that is lost fails all later work") {
  const Stream stream;
  Array<float> a(kSize);
  REQUIRE_OK(cudaMemsetAsync(a, 0, kBytes, stream));
  REQUIRE_OK(cudaStreamSynchronize(stream));
  fail_device("the GPU has fallen off the bus");
  CHECK_GIVES(cudaErrorLaunchFailure, cudaMemsetAsync(a, 1, kBytes, stream));
  CHECK_GIVES(cudaErrorLaunchFailure, cudaStreamSynchronize(stream));
  CHECK(std::string(cudaGetErrorString(cudaErrorLaunchFailure)) ==
        "unspecified launch failure (the GPU has fallen off the bus)");
  CHECK(take_error() == "the GPU has fallen off the bus");
  CHECK(a.values()[5] == 0.0f);
}

}  // namespace
}  // namespace cuda_emulation

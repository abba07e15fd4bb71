#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda_emulation/emulation.h"

namespace cuda_emulation {

#define REQUIRE_OK(call)                                             \
  do {                                                               \
    const cudaError_t its_status = (call);                           \
    if (its_status == cudaSuccess) break;                            \
    FAIL(#call ": " << std::string(cudaGetErrorString(its_status))); \
  } while (false)
/// The call gives this error, which is forgotten then.
#define CHECK_GIVES(error, call) \
  do {                           \
    CHECK((call) == (error));    \
    (void)cudaGetLastError();    \
  } while (false)

/// An array in the memory of the current device.
template <class T>
class Array {
 public:
  explicit Array(std::size_t size) : size_(size) {
    REQUIRE_OK(cudaMalloc(reinterpret_cast<void**>(&memory_), size * sizeof(T)));
  }
  explicit Array(const std::vector<T>& values) : Array(values.size()) {
    REQUIRE_OK(cudaMemcpy(memory_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { cudaFree(memory_); }

  operator T*() { return memory_; }
  std::vector<T> values() const {
    std::vector<T> all(size_);
    REQUIRE_OK(cudaMemcpy(all.data(), memory_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return all;
  }

 private:
  T* memory_ = nullptr;
  std::size_t size_;
};

class Stream {
 public:
  Stream() { REQUIRE_OK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { REQUIRE_OK(cudaEventCreateWithFlags(&event_, cudaEventDefault)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Every order with every pace; and with them one whose accesses are checked.
std::vector<Settings> plain_settings();
std::vector<Settings> all_settings();
/// What `run` gave in each of them, each but once: one result where the order does not show.
/// Device work must not have failed.
std::vector<std::vector<float>> results(const std::function<std::vector<float>()>& run,
                                        const std::vector<Settings>& settings = all_settings());

// --- For planted faults ----------------------------------------------------------------------

constexpr std::size_t kPlantedSize = 128;
/// Issues work on two arrays of so many elements.
using Issue = std::function<cudaError_t(float* a, float* b, cudaStream_t stream)>;

/// The error of the device that `issue` leads to; "" if none. `a` is written before.
std::string error_of(const Settings& settings, const Issue& issue, bool b_is_written = false);
/// Whether orders change what is in `b`; both are written before. The device must not fail.
bool shows_in_orders(const Issue& issue);

#define CHECK_NAMES(error, what, place)           \
  do {                                            \
    const std::string text = error;               \
    CAPTURE(text);                                \
    CHECK(text.find(what) != std::string::npos);  \
    CHECK(text.find(place) != std::string::npos); \
  } while (false)

}  // namespace cuda_emulation

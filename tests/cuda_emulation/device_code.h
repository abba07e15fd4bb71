#pragma once

/// What kernels see of CUDA when an ordinary compiler compiles them. Types and host functions
/// come from NVIDIA's own headers. A kernel's threads are fibers of one operating-system thread
/// (execution.cpp), so nothing here is atomic for the machine.

#include <cuda_runtime.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#undef __shared__
#define __shared__ static  // one block runs at a time
#undef __grid_constant__
#define __grid_constant__
#define __launch_bounds__(...)

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_emulation {

/// A line of a kernel's source.
struct Line {
  const char* file;
  int line;
  bool operator==(const Line& other) const {
    return line == other.line && (file == other.file || std::strcmp(file, other.file) == 0);
  }
};
/// Last parameters of what kernels call: the caller's line.
#define CUDA_EMULATION_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

/// Waits for all threads of the block; returns how many gave a `value` other than zero.
int block_barrier(int value, Line here);
/// What the lanes of a mask gave, by lane.
struct Exchanged {
  std::uint64_t words[32];
  unsigned lanes;  ///< those that took part
};
/// Waits for the lanes in `mask` that have not ended.
Exchanged warp_exchange(unsigned mask, std::uint64_t word, Line here, bool orders_memory = false);
/// Ends the launch with an error that names the thread.
[[noreturn]] void refuse(const char* what, Line here);
void* dynamic_shared();
/// For the access checks, before an atomic operation.
void note_atomic(const void* address, std::size_t bytes, bool writes = true);

/// How to call a kernel whose arguments' addresses are known.
struct Signature {
  void (*call)(const void* kernel, void* const* arguments);
  const std::size_t* sizes;  ///< of the arguments
  std::size_t count;
};
void describe(const void* kernel, const Signature& signature);
template <class... P>
void describe(void (*kernel)(P...)) {
  static_assert(
      (... && (std::is_trivially_copy_constructible_v<P> && std::is_trivially_destructible_v<P>)),
      "kernels take plain values");
  static constexpr std::size_t sizes[] = {sizeof(P)..., 0};
  static constexpr auto call = [](const void* any, void* const* arguments) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      auto* const function = reinterpret_cast<void (*)(P...)>(const_cast<void*>(any));
      function(*static_cast<P*>(arguments[I])...);
    }
    (std::index_sequence_for<P...>{});
  };
  describe(reinterpret_cast<const void*>(kernel), {call, sizes, sizeof...(P)});
}

template <class T>
std::uint64_t to_word(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  return word;
}
template <class T>
T from_word(std::uint64_t word) {
  T value;
  std::memcpy(&value, &word, sizeof(T));
  return value;
}

inline int lane() {
  return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) %
                          32u);
}
/// The word of lane `source`, or the thread's own where that lies outside [low, high].
template <class T>
T shuffle(unsigned mask, T value, int source, int low, int high, Line here) {
  const Exchanged all = warp_exchange(mask, to_word(value), here);
  if (source < low || source > high) return value;
  if ((all.lanes >> source & 1u) == 0) refuse("a shuffle reads a lane that takes no part", here);
  return from_word<T>(all.words[source]);
}
template <class T, class F>
T reduce(unsigned mask, T value, F combine, Line here) {
  const Exchanged all = warp_exchange(mask, to_word(value), here);
  bool first = true;
  for (int i = 0; i < 32; ++i) {
    if ((all.lanes >> i & 1u) == 0) continue;
    const T other = from_word<T>(all.words[i]);
    value = first ? other : combine(value, other);
    first = false;
  }
  return value;
}
/// Reads, changes and writes without a switch of threads in between.
template <class T, class F>
__attribute__((no_sanitize("thread"), noinline)) T atomic(T* address, F change) {
  note_atomic(address, sizeof(T));
  const T old = *address;
  *address = change(old);
  return old;
}

template <class T>
__attribute__((no_sanitize("thread"), noinline)) T load_relaxed(const T* address) {
  note_atomic(address, sizeof(T), false);
  return *address;
}

// Tensor cores.
inline float round_to_tf32(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::isfinite(x) ? std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu) : x;
}
/// Lanes hold what those of mma.m16n8k8 do; low bits of a and b are not seen.
inline void add_product(float (&sums)[4], const float (&a)[4], const float (&b)[2],
                        CUDA_EMULATION_HERE) {
  struct Pair {
    float low, high;
  };
  const auto exchange = [&](float low, float high) {
    return warp_exchange(~0u, to_word(Pair{low, high}), {file, line});
  };
  const Exchanged left = exchange(a[0], a[1]), right = exchange(a[2], a[3]);
  const Exchanged of_b = exchange(b[0], b[1]);
  const auto seen = [](float x) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & ~0x1fffu);
  };
  const int group = lane() / 4, member = lane() % 4;
  for (int k = 0; k < 8; ++k) {
    const auto rows = from_word<Pair>((k < 4 ? left : right).words[group * 4 + k % 4]);
    for (int j = 0; j < 2; ++j) {
      const auto pair = from_word<Pair>(of_b.words[(2 * member + j) * 4 + k % 4]);
      const float y = seen(k < 4 ? pair.low : pair.high);
      sums[j] += seen(rows.low) * y;
      sums[2 + j] += seen(rows.high) * y;
    }
  }
}

}  // namespace cuda_emulation

// --- Barriers --------------------------------------------------------------------------------

inline void __syncthreads(CUDA_EMULATION_HERE) { cuda_emulation::block_barrier(0, {file, line}); }
inline int __syncthreads_count(int p, CUDA_EMULATION_HERE) {
  return cuda_emulation::block_barrier(p, {file, line});
}
inline int __syncthreads_or(int p, CUDA_EMULATION_HERE) {
  return cuda_emulation::block_barrier(p, {file, line}) != 0;
}
inline int __syncthreads_and(int p, CUDA_EMULATION_HERE) {
  return cuda_emulation::block_barrier(p == 0, {file, line}) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, CUDA_EMULATION_HERE) {
  cuda_emulation::warp_exchange(mask, 0, {file, line}, true);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

// --- Warps -----------------------------------------------------------------------------------

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATION_HERE) {
  const int low = cuda_emulation::lane() & ~(width - 1);
  const int lane = low | (source & (width - 1));
  return cuda_emulation::shuffle(mask, value, lane, 0, 31, {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATION_HERE) {
  const int at = cuda_emulation::lane(), low = at & ~(width - 1);
  const int lane = at - static_cast<int>(delta);
  return cuda_emulation::shuffle(mask, value, lane, low, 31, {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATION_HERE) {
  const int at = cuda_emulation::lane(), high = at | (width - 1);
  const int lane = at + static_cast<int>(delta);
  return cuda_emulation::shuffle(mask, value, lane, 0, high, {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_EMULATION_HERE) {
  const int at = cuda_emulation::lane(), high = at | (width - 1);
  return cuda_emulation::shuffle(mask, value, at ^ bits, 0, high, {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int p, CUDA_EMULATION_HERE) {
  const unsigned own = p ? 1u << cuda_emulation::lane() : 0u;
  const auto unite = [](unsigned a, unsigned b) { return a | b; };
  return cuda_emulation::reduce(mask, own, unite, {file, line});
}
inline int __any_sync(unsigned mask, int p, CUDA_EMULATION_HERE) {
  return __ballot_sync(mask, p, file, line) != 0;
}
inline int __all_sync(unsigned mask, int p, CUDA_EMULATION_HERE) {
  return __ballot_sync(mask, p == 0, file, line) == 0;
}
template <class T>
T __reduce_add_sync(unsigned mask, T value, CUDA_EMULATION_HERE) {
  const auto add = [](T a, T b) {
    return static_cast<T>(static_cast<unsigned>(a) + static_cast<unsigned>(b));
  };
  return cuda_emulation::reduce(mask, value, add, {file, line});
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, CUDA_EMULATION_HERE) {
  const auto less = [](T a, T b) { return b < a ? b : a; };
  return cuda_emulation::reduce(mask, value, less, {file, line});
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, CUDA_EMULATION_HERE) {
  const auto more = [](T a, T b) { return a < b ? b : a; };
  return cuda_emulation::reduce(mask, value, more, {file, line});
}

// --- Atomics: the types that CUDA has them for -----------------------------------------------

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  static_assert(!std::is_same_v<T, long long> && sizeof(T) >= 4, "CUDA has no such atomicAdd");
  return cuda_emulation::atomic(address, [=](T old) { return old + value; });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 4, "CUDA has no such atomicMax");
  return cuda_emulation::atomic(address, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 4, "CUDA has no such atomicMin");
  return cuda_emulation::atomic(address, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 4, "CUDA has no such atomicAnd");
  return cuda_emulation::atomic(address, [=](T old) { return old & value; });
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 4, "CUDA has no such atomicOr");
  return cuda_emulation::atomic(address, [=](T old) { return old | value; });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  static_assert(sizeof(T) >= 4, "CUDA has no such atomicExch");
  return cuda_emulation::atomic(address, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>, "CUDA has no such atomicCAS");
  return cuda_emulation::atomic(address, [=](T old) { return old == expected ? value : old; });
}

// --- Loads, bits, arithmetic -----------------------------------------------------------------

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, T value) {
  *address = value;
}

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x ? std::countr_zero(static_cast<unsigned>(x)) + 1 : 0; }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(std::uint64_t{a} * b >> 32);
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
// What nvcc must not contract; here nothing is.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double x) { return std::sqrt(x); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
#define __expf(x) expf(x)  // the C library keeps these names for itself
#define __logf(x) logf(x)

template <class T>
  requires std::is_arithmetic_v<T> T min(T a, T b) { return b < a ? b : a; }
template <class T>
  requires std::is_arithmetic_v<T> T max(T a, T b) { return a < b ? b : a; }
#undef CUDA_EMULATION_HERE

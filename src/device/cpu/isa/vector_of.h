#pragma once

#include <cstddef>

/// Registers cannot be indexed: loops over them must go.
#ifdef __clang__
#define GRADGRAPH_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GRADGRAPH_UNROLL _Pragma("GCC unroll 16")
#endif

/// For code that is compiled once per level of the instruction set, as vectors.h is.
namespace gradgraph::GRADGRAPH_ISA {

#if defined(__AVX512F__)
inline constexpr std::size_t kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr std::size_t kVectorBytes = 32;
#else
inline constexpr std::size_t kVectorBytes = 16;
#endif

/// As many elements as a register holds, with the compiler's own arithmetic.
template <class T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
  static constexpr int kLanes = kVectorBytes / sizeof(T);
};

}  // namespace gradgraph::GRADGRAPH_ISA

#pragma once

/// Levels of the instruction set that own vector code is compiled for.
namespace gradgraph {

enum class Isa { baseline, avx2, avx512 };

/// The highest level that this build has and this processor runs. avx2 includes fused
/// multiply-add; avx512 is F, BW, DQ and VL.
inline Isa best_isa() {
#ifdef GRADGRAPH_ISA_LEVELS
  static const Isa best = [] {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::baseline;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               ? Isa::avx512
               : Isa::avx2;
  }();
  return best;
#else
  return Isa::baseline;
#endif
}

}  // namespace gradgraph

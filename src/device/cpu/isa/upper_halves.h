#pragma once

#if defined(__AVX__)
#include <immintrin.h>
#endif

/// Included by files that are compiled per level of the instruction set, as loops_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

/// Empties the upper halves of the vector registers: on some processors code that knows only the
/// lower ones takes many times as long otherwise. Compilers do it at the end of functions, but
/// g++ neither in functions that take vectors as arguments nor in those that call them. So it
/// stands at the end of whatever other code calls and takes no vectors itself.
inline void clear_upper_halves() {
#if defined(__AVX__)
  _mm256_zeroupper();
#endif
}

}  // namespace gradgraph::GRADGRAPH_ISA

#define GRADGRAPH_ISA avx2
#include "device/cpu/random_words_loops.h"

namespace gradgraph {

extern const RandomWords random_words_avx2;
constexpr RandomWords random_words_avx2 = avx2::random_words;

}  // namespace gradgraph

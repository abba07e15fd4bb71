#define GRADGRAPH_ISA avx512
#include "device/cpu/random_words_loops.h"

namespace gradgraph {

extern const RandomWords random_words_avx512;
constexpr RandomWords random_words_avx512 = avx512::random_words;

}  // namespace gradgraph

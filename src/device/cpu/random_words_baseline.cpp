#define GRADGRAPH_ISA baseline
#include "device/cpu/random_words_loops.h"

namespace gradgraph {

extern const RandomWords random_words_baseline;
constexpr RandomWords random_words_baseline = baseline::random_words;

}  // namespace gradgraph

#include "device/cpu/random/random_words_loops.h"

namespace gradgraph::GRADGRAPH_ISA {

extern const RandomWords words;
constexpr RandomWords words = random_words;

}  // namespace gradgraph::GRADGRAPH_ISA

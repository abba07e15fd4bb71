#include "device/cpu/elementwise/loops_table.h"

namespace gradgraph::GRADGRAPH_ISA {

extern const LoopTable loops;
constexpr LoopTable loops = make_table();

}  // namespace gradgraph::GRADGRAPH_ISA

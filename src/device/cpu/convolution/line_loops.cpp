#include "device/cpu/convolution/line_loops.h"

#include "device/cpu/isa/levels.h"

namespace gradgraph {

GRADGRAPH_LEVELS(const LineLoops, line_loops)

const LineLoops& best_line_loops() { return GRADGRAPH_AT_LEVEL(best_isa(), line_loops); }

}  // namespace gradgraph

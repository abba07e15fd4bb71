#include "device/cpu/convolution/line_loops_table.h"

namespace gradgraph::GRADGRAPH_ISA {

extern const LineLoops line_loops;
constexpr LineLoops line_loops = make_line_loops();

}  // namespace gradgraph::GRADGRAPH_ISA

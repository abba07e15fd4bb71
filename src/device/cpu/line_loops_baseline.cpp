#define GRADGRAPH_ISA baseline
#include "device/cpu/line_loops_table.h"

namespace gradgraph {

extern const LineLoops line_loops_baseline;
constexpr LineLoops line_loops_baseline = baseline::make_line_loops();

}  // namespace gradgraph

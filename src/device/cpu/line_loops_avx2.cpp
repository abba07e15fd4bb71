#define GRADGRAPH_ISA avx2
#include "device/cpu/line_loops_table.h"

namespace gradgraph {

extern const LineLoops line_loops_avx2;
constexpr LineLoops line_loops_avx2 = avx2::make_line_loops();

}  // namespace gradgraph

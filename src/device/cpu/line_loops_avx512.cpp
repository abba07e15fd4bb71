#define GRADGRAPH_ISA avx512
#include "device/cpu/line_loops_table.h"

namespace gradgraph {

extern const LineLoops line_loops_avx512;
constexpr LineLoops line_loops_avx512 = avx512::make_line_loops();

}  // namespace gradgraph

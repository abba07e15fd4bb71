#include "device/cpu/line_loops.h"

namespace gradgraph {

extern const LineLoops line_loops_baseline;
#ifdef GRADGRAPH_ISA_LEVELS
extern const LineLoops line_loops_avx2, line_loops_avx512;
#endif

const LineLoops* line_loops(Isa level) {
  if (level > best_isa()) return nullptr;
#ifdef GRADGRAPH_ISA_LEVELS
  if (level == Isa::avx512) return &line_loops_avx512;
  if (level == Isa::avx2) return &line_loops_avx2;
#endif
  return &line_loops_baseline;
}

const LineLoops& best_line_loops() { return *line_loops(best_isa()); }

}  // namespace gradgraph

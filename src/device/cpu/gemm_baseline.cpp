#define GRADGRAPH_ISA baseline
#include "device/cpu/gemm_loops.h"

namespace gradgraph {

extern const TileTable tiles_baseline;
constexpr TileTable tiles_baseline = baseline::make_tiles(Isa::baseline);

}  // namespace gradgraph

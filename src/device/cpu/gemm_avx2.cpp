#define GRADGRAPH_ISA avx2
#include "device/cpu/gemm_loops.h"

namespace gradgraph {

extern const TileTable tiles_avx2;
constexpr TileTable tiles_avx2 = avx2::make_tiles(Isa::avx2);

}  // namespace gradgraph

#define GRADGRAPH_ISA avx512
#include "device/cpu/gemm_loops.h"

namespace gradgraph {

extern const TileTable tiles_avx512;
constexpr TileTable tiles_avx512 = avx512::make_tiles(Isa::avx512);

}  // namespace gradgraph

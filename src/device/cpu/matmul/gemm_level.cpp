#include "device/cpu/matmul/gemm_loops.h"

namespace gradgraph::GRADGRAPH_ISA {

extern const TileTable tiles;
constexpr TileTable tiles = make_tiles();

}  // namespace gradgraph::GRADGRAPH_ISA

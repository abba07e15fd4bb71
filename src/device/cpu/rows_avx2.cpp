#define GRADGRAPH_ISA avx2
#include "device/cpu/rows_table.h"

namespace gradgraph {

extern const RowTable rows_avx2;
constexpr RowTable rows_avx2 = avx2::make_table();

}  // namespace gradgraph

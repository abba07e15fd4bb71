#define GRADGRAPH_ISA avx512
#include "device/cpu/rows_table.h"

namespace gradgraph {

extern const RowTable rows_avx512;
constexpr RowTable rows_avx512 = avx512::make_table();

}  // namespace gradgraph

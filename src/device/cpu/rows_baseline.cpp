#define GRADGRAPH_ISA baseline
#include "device/cpu/rows_table.h"

namespace gradgraph {

extern const RowTable rows_baseline;
constexpr RowTable rows_baseline = baseline::make_table();

}  // namespace gradgraph

#include "device/cpu/elementwise/rows_table.h"

namespace gradgraph::GRADGRAPH_ISA {

extern const RowTable rows;
constexpr RowTable rows = make_table();

}  // namespace gradgraph::GRADGRAPH_ISA

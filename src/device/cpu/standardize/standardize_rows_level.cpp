#include "device/cpu/standardize/standardize_rows_table.h"

namespace gradgraph::GRADGRAPH_ISA {

extern const StandardizeTable standardize_rows;
constexpr StandardizeTable standardize_rows = make_standardize_rows();

}  // namespace gradgraph::GRADGRAPH_ISA

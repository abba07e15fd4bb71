#include "device/cpu/softmax/softmax_rows_table.h"

namespace gradgraph::GRADGRAPH_ISA {

extern const SoftmaxTable softmax_rows;
constexpr SoftmaxTable softmax_rows = make_softmax_rows();

}  // namespace gradgraph::GRADGRAPH_ISA

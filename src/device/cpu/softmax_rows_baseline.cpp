#define GRADGRAPH_ISA baseline
#include "device/cpu/softmax_rows_table.h"

namespace gradgraph {

extern const SoftmaxTable softmax_rows_baseline;
constexpr SoftmaxTable softmax_rows_baseline = baseline::make_softmax_rows();

}  // namespace gradgraph

#define GRADGRAPH_ISA avx2
#include "device/cpu/softmax_rows_table.h"

namespace gradgraph {

extern const SoftmaxTable softmax_rows_avx2;
constexpr SoftmaxTable softmax_rows_avx2 = avx2::make_softmax_rows();

}  // namespace gradgraph

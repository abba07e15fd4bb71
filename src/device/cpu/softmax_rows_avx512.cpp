#define GRADGRAPH_ISA avx512
#include "device/cpu/softmax_rows_table.h"

namespace gradgraph {

extern const SoftmaxTable softmax_rows_avx512;
constexpr SoftmaxTable softmax_rows_avx512 = avx512::make_softmax_rows();

}  // namespace gradgraph

#include "device/cpu/softmax_rows.h"

#include "device/cpu/isa.h"

namespace gradgraph {

extern const SoftmaxTable softmax_rows_baseline;
#ifdef GRADGRAPH_ISA_LEVELS
extern const SoftmaxTable softmax_rows_avx2, softmax_rows_avx512;
#endif

namespace {

const SoftmaxTable& best_table() {
#ifdef GRADGRAPH_ISA_LEVELS
  if (best_isa() == Isa::avx512) return softmax_rows_avx512;
  if (best_isa() == Isa::avx2) return softmax_rows_avx2;
#endif
  return softmax_rows_baseline;
}

}  // namespace

template <>
const SoftmaxRows<float>& best_softmax_rows<float>() {
  return best_table().of_float;
}
template <>
const SoftmaxRows<double>& best_softmax_rows<double>() {
  return best_table().of_double;
}

}  // namespace gradgraph

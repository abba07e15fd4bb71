#include "device/cpu/softmax/softmax_rows.h"

#include "device/cpu/isa/levels.h"

namespace gradgraph {

GRADGRAPH_LEVELS(const SoftmaxTable, softmax_rows)

template <>
const SoftmaxRows<float>& best_softmax_rows<float>() {
  return GRADGRAPH_AT_LEVEL(best_isa(), softmax_rows).of_float;
}
template <>
const SoftmaxRows<double>& best_softmax_rows<double>() {
  return GRADGRAPH_AT_LEVEL(best_isa(), softmax_rows).of_double;
}

}  // namespace gradgraph

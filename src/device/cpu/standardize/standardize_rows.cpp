#include "device/cpu/standardize/standardize_rows.h"

#include "device/cpu/isa/levels.h"

namespace gradgraph {

GRADGRAPH_LEVELS(const StandardizeTable, standardize_rows)

template <>
const StandardizeRows<float>& best_standardize_rows<float>() {
  return GRADGRAPH_AT_LEVEL(best_isa(), standardize_rows).of_float;
}
template <>
const StandardizeRows<double>& best_standardize_rows<double>() {
  return GRADGRAPH_AT_LEVEL(best_isa(), standardize_rows).of_double;
}

}  // namespace gradgraph

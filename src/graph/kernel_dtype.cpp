#include "graph/kernel_dtype.h"

#include "gradgraph/op.h"
#include "graph/static_inputs.h"

namespace gradgraph {

DType kernel_dtype(const Node& node) {
  const Traits& traits = node.op().traits;
  if (traits.kernel_input >= 0) return node.input(traits.kernel_input).dtype();
  if (traits.kernel_input == Traits::kDefault)
    for (int i = 0; i < node.num_inputs(); ++i)
      if (!is_static_input(traits, i)) return node.input(i).dtype();
  return node.num_outputs() > 0 ? node.dtype(0) : float32;
}

}  // namespace gradgraph

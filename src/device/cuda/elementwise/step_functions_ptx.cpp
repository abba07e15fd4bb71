#include "device/cuda/elementwise/step_functions.h"

namespace gradgraph::cuda {

std::string_view step_functions_ptx() {
  static constexpr std::string_view text =
#include <step_functions.ptx.h>  // nvcc made it
      ;
  return text;
}

}  // namespace gradgraph::cuda

#define GRADGRAPH_ISA avx512
#include "device/cpu/links_table.h"

namespace gradgraph {

const LinkTable& links_avx512() {
  static const LinkTable table = avx512::make_links();
  return table;
}

}  // namespace gradgraph

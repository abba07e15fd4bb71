#define GRADGRAPH_ISA avx2
#include "device/cpu/links_table.h"

namespace gradgraph {

const LinkTable& links_avx2() {
  static const LinkTable table = avx2::make_links();
  return table;
}

}  // namespace gradgraph

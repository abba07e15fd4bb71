#define GRADGRAPH_ISA baseline
#include "device/cpu/links_table.h"

namespace gradgraph {

const LinkTable& links_baseline() {
  static const LinkTable table = baseline::make_links();
  return table;
}

}  // namespace gradgraph

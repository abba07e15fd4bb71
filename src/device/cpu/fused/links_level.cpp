#include "device/cpu/fused/links_table.h"

namespace gradgraph::GRADGRAPH_ISA {

extern LinkTable::Get links;

// Made when it is first asked for: addresses of functions of one type are no constants as those
// of another.
const LinkTable& links() {
  static const LinkTable table = make_links();
  return table;
}

}  // namespace gradgraph::GRADGRAPH_ISA

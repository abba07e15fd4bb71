#pragma once

namespace gradgraph::tests {

/// Tells the emulated GPU of each kernel's operands, so that its checks see an access beside them
/// and a read of what another value left there: a plan's values share one allocation. Once is
/// enough.
void announce_operands();

}  // namespace gradgraph::tests

#pragma once

#include <functional>

namespace gradgraph::tests {

/// Calls `body` in several orders, and at several paces, of an emulated GPU, and once with every
/// access checked, and looks for errors; on a real GPU calls it once.
void in_every_setting(const std::function<void()>& body);

}  // namespace gradgraph::tests

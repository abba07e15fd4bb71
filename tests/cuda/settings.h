#pragma once

#include <cstdint>
#include <functional>

namespace gradgraph::tests {

/// Calls `body` in several orders, and at several paces, of an emulated GPU, and once with every
/// access checked, and looks for errors; on a real GPU calls it once.
void in_every_setting(const std::function<void()>& body);
/// The same without the checks, which take long.
void in_every_order(const std::function<void()>& body);

/// How many allocations `body` makes: of an emulated GPU, its own and those of the host's memory
/// for it; on a real GPU those of the program, by operator new.
std::uint64_t allocations_in(const std::function<void()>& body);

}  // namespace gradgraph::tests

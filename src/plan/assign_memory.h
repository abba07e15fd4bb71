#pragma once

#include <span>

#include "plan/plan.h"

namespace gradgraph {

/// Gives every value of an arena, and every step's work memory, its place. Lifetimes are those of
/// whole values, which parts name.
///
/// Memory may be used again by a later step. Where steps run side by side that makes them wait
/// for each other: where a device may have as much more as that takes, it is used again only by
/// steps that come after all its users anyway. `rooms`: see PlanOptions.
void assign_memory(Plan& plan, std::span<const ArenaRoom> rooms);

}  // namespace gradgraph

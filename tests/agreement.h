#pragma once

#include <string>
#include <vector>

#include "device/cpu/isa/isa.h"
#include "gradgraph/gradgraph.h"

/// How results are compared that sessions may round otherwise.
namespace gradgraph::tests {

/// Whether fuse_epilogue adds in another order: without AVX2 the other products are a library's.
inline bool epilogues_round_otherwise() { return best_isa() == Isa::baseline; }

/// Where they differ by more than rounding, measured against the largest number in them; empty
/// where they agree. With `changes_more` zeros may have another sign, and anything may stand in
/// place of an infinity or NaN.
std::string find_disagreement(const Tensor& actual, const Tensor& expected, double tolerance,
                              bool changes_more = false);

/// Whether a rewrite was done that may change more than rounding.
bool may_change_more(Session& session, const Feeds& feeds, const std::vector<Output>& fetches);

}  // namespace gradgraph::tests

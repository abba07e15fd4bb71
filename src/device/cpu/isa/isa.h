#pragma once

#include <string_view>
#include <vector>

/// Levels of the instruction set that own vector code is compiled for.
namespace gradgraph {

enum class Isa { baseline, avx2, avx512 };

/// The level of kernels that are made from now on: the highest that this build has and this
/// processor runs, or the one that $GRADGRAPH_ISA names, which is read once. avx2 includes fused
/// multiply-add; avx512 is F, BW, DQ and VL. Throws as `isa_named` and `best_compiled_isa` do,
/// and for a name of a level that is not compiled.
Isa best_isa();

/// The highest level that this processor runs, whatever this build has.
Isa processor_isa();

/// `best` where `name` is empty. Throws an Error where it is no level's, or one's above `best`.
Isa isa_named(std::string_view name, Isa best);

/// The highest level that this build has and a processor which reaches `processor` runs. Throws
/// an Error where there is none.
Isa best_compiled_isa(Isa processor);

/// Those that this build has and this processor runs, from the lowest to best_isa().
std::vector<Isa> usable_levels();

/// Within the scope kernels are made for `level`, one of usable_levels() (for tests; not
/// for several threads).
class IsaScope {
 public:
  explicit IsaScope(Isa level);
  ~IsaScope();
  IsaScope(const IsaScope&) = delete;
  IsaScope& operator=(const IsaScope&) = delete;

 private:
  Isa before_;
};

}  // namespace gradgraph

#include "device/cpu/isa/isa.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "core/text.h"
#include "gradgraph/error.h"

namespace gradgraph {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"baseline", "avx2", "avx512"};

#ifdef GRADGRAPH_ISA_LEVELS
constexpr Isa kHighest = Isa::avx512;
#else
constexpr Isa kHighest = Isa::baseline;
#endif

Isa& current_isa() {
  static Isa isa = [] {
    const char* name = std::getenv("GRADGRAPH_ISA");
    return isa_named(name ? name : "", std::min(processor_isa(), kHighest));
  }();
  return isa;
}

}  // namespace

Isa processor_isa() {
#ifdef __x86_64__
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::baseline;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
             ? Isa::avx512
             : Isa::avx2;
#else
  return Isa::baseline;
#endif
}

Isa isa_named(std::string_view name, Isa best) {
  if (name.empty()) return best;
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end())
    throw Error(
        fmt::format("GRADGRAPH_ISA is '{}', which is none of {}", name, fmt::join(kNames, ", ")));
  const Isa level = static_cast<Isa>(found - kNames.begin());
  if (level > best)
    throw Error(
        fmt::format("GRADGRAPH_ISA is {}, but this build has {} at most on this processor", name,
                    kNames[static_cast<std::size_t>(best)]));
  return level;
}

Isa best_isa() { return current_isa(); }

IsaScope::IsaScope(Isa level) : before_(best_isa()) { current_isa() = level; }
IsaScope::~IsaScope() { current_isa() = before_; }

}  // namespace gradgraph

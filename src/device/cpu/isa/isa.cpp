#include "device/cpu/isa/isa.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "core/text.h"
#include "device/cpu/isa/compiled_levels.h"
#include "gradgraph/error.h"

namespace gradgraph {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"baseline", "avx2", "avx512"};

#define GRADGRAPH_LEVEL(own) Isa::own,
constexpr Isa kCompiled[] = {GRADGRAPH_EACH_LEVEL(GRADGRAPH_LEVEL)};
constexpr const char* kRemedy = "`meson configure BUILD -Disa_levels=all` adds the others";

std::string_view name_of(Isa level) { return kNames[static_cast<std::size_t>(level)]; }

Isa& current_isa() {
  static Isa isa = [] {
    const char* name = std::getenv("GRADGRAPH_ISA");
    const Isa level = isa_named(name ? name : "", best_compiled_isa(processor_isa()));
    if (std::ranges::find(kCompiled, level) == std::end(kCompiled))
      throw Error(fmt::format("GRADGRAPH_ISA is {}, but this build has {} alone: {}", name,
                              name_of(kCompiled[0]), kRemedy));
    return level;
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
                    name_of(best)));
  return level;
}

Isa best_compiled_isa(Isa processor) {
  for (auto level = std::rbegin(kCompiled); level != std::rend(kCompiled); ++level)
    if (*level <= processor) return *level;
  throw Error(
      fmt::format("this build has code for {} alone, which this processor does not run: {}",
                  name_of(kCompiled[0]), kRemedy));
}

Isa best_isa() { return current_isa(); }

std::vector<Isa> usable_levels() {
  std::vector<Isa> levels(std::begin(kCompiled), std::end(kCompiled));
  std::erase_if(levels, [](Isa level) { return level > best_isa(); });
  return levels;
}

IsaScope::IsaScope(Isa level) : before_(best_isa()) { current_isa() = level; }
IsaScope::~IsaScope() { current_isa() = before_; }

}  // namespace gradgraph

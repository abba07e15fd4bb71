#include "core/cache_folder.h"

#include <cstdlib>

namespace gradgraph {

std::filesystem::path cache_folder() {
  const auto folder = [](const char* variable, const char* below) {
    const char* value = std::getenv(variable);
    return value && *value ? std::filesystem::path(value) / below : std::filesystem::path();
  };
  const std::filesystem::path cache = folder("XDG_CACHE_HOME", "gradgraph");
  return cache.empty() ? folder("HOME", ".cache/gradgraph") : cache;
}

}  // namespace gradgraph

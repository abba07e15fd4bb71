#pragma once

#include <filesystem>

namespace gradgraph {

/// What is kept for this user from run to run: $XDG_CACHE_HOME/gradgraph, else
/// ~/.cache/gradgraph. It need not exist. Empty where there is no home.
std::filesystem::path cache_folder();

}  // namespace gradgraph

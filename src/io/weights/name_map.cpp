#include <algorithm>
#include <string_view>
#include <utility>

#include "gradgraph/weights.h"

namespace gradgraph {
namespace {

/// What the stars of `pattern` stand for in `name`, each but the last as short as can be; false
/// where it does not fit.
bool find_parts(std::string_view pattern, std::string_view name,
                std::vector<std::string_view>& parts) {
  std::vector<std::string_view> pieces;
  for (std::size_t star; (star = pattern.find('*')) != std::string_view::npos;) {
    pieces.push_back(pattern.substr(0, star));
    pattern.remove_prefix(star + 1);
  }
  if (pieces.empty()) return pattern == name;
  if (!name.starts_with(pieces.front())) return false;
  name.remove_prefix(pieces.front().size());
  for (std::size_t i = 1; i < pieces.size(); ++i) {
    const std::size_t found = name.find(pieces[i]);
    if (found == std::string_view::npos) return false;
    parts.push_back(name.substr(0, found));
    name.remove_prefix(found + pieces[i].size());
  }
  if (!name.ends_with(pattern)) return false;
  parts.push_back(name.substr(0, name.size() - pattern.size()));
  return true;
}

std::string with_parts(std::string_view pattern, const std::vector<std::string_view>& parts) {
  std::string name;
  std::size_t next = 0;
  for (const char c : pattern) {
    if (c != '*')
      name += c;
    else if (next < parts.size())
      name += parts[next++];
  }
  return name;
}

}  // namespace

NameMap::NameMap(Patterns patterns)
    : function_([patterns = std::move(patterns)](const std::string& name) {
        std::vector<std::string_view> parts;
        for (const auto& [pattern, replacement] : patterns) {
          parts.clear();
          if (find_parts(pattern, name, parts)) return with_parts(replacement, parts);
        }
        return name;
      }) {}

std::string NameMap::operator()(const std::string& name) const {
  return function_ ? function_(name) : name;
}

}  // namespace gradgraph

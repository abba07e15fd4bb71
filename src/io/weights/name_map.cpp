#include <algorithm>
#include <string_view>
#include <utility>

#include "core/text.h"
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
    else
      name += parts[next++];
  }
  return name;
}

}  // namespace

NameMap::NameMap(Patterns patterns, SourceLocation where) : patterns_(std::move(patterns)) {
  for (const auto& [pattern, replacement] : patterns_)
    if (std::ranges::count(replacement, '*') > std::ranges::count(pattern, '*'))
      throw BuildError(fmt::format("a name map: '{}' has more stars than '{}', which it replaces",
                                   replacement, pattern),
                       where);
}

std::string NameMap::operator()(const std::string& name) const {
  if (function_) return function_(name);
  std::vector<std::string_view> parts;
  for (const auto& [pattern, replacement] : patterns_) {
    parts.clear();
    if (find_parts(pattern, name, parts)) return with_parts(replacement, parts);
  }
  return name;
}

std::vector<std::string> NameMap::fitting_none(const std::vector<std::string>& names) const {
  std::vector<std::string> result;
  std::vector<std::string_view> parts;
  for (const auto& entry : patterns_)
    if (std::ranges::none_of(names, [&](const std::string& name) {
          parts.clear();
          return find_parts(entry.first, name, parts);
        }))
      result.push_back(entry.first);
  return result;
}

}  // namespace gradgraph

#include "gradgraph/error.h"

#include <string>
#include <string_view>

#include "core/text.h"
#include "gradgraph/inside.h"

namespace gradgraph {

namespace {
/// `what` ends at a NUL, which a name may have.
std::string visible(std::string_view message) {
  std::string shown;
  for (const char c : message)
    if (c == '\0')
      shown += "\\0";
    else
      shown += c;
  return shown;
}
}  // namespace

Error::Error(const std::string& message, SourceLocation where)
    : std::runtime_error(
          visible(where.known() ? message + "  (" + to_string(where) + ")" : message)),
      where_(where) {}

void fail_empty() {
  throw RunError("an object is used that is empty: it was moved from, or has no value yet");
}

std::string to_string(SourceLocation where) {
  std::string_view file = where.file;
  if (const auto slash = file.rfind('/'); slash != std::string_view::npos)
    file.remove_prefix(slash + 1);
  return fmt::format("{}:{}", file, where.line);
}

std::string without_line(const Error& error) {
  std::string message = error.what();
  if (!error.where().known()) return message;
  const std::string line = "  (" + to_string(error.where()) + ")";
  if (message.ends_with(line)) message.resize(message.size() - line.size());
  return message;
}

std::string node_message(std::string_view op, std::string_view node, std::string_view message) {
  return fmt::format("[{}] '{}': {}", op, node, message);
}

}  // namespace gradgraph

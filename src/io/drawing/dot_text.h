#pragma once

#include <string>
#include <string_view>

namespace gradgraph {

/// Text as Graphviz takes it: characters that it cannot show become "?", and what is longer than
/// anybody reads, and than Graphviz' own buffers, ends in "...".

/// In double quotes.
std::string quote(std::string_view text);
/// For labels in angle brackets.
std::string html(std::string_view text);

}  // namespace gradgraph

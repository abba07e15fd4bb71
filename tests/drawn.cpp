#include "drawn.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "temporary_directory.h"

namespace gradgraph::tests {

std::string dot(const Graph& graph, const DotOptions& options) {
  std::ostringstream stream;
  write_dot(graph, stream, options);
  return stream.str();
}

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::string draw(const std::string& text) {
  static const bool installed = std::system("dot -V > /dev/null 2>&1") == 0;
  if (!installed) {
    MESSAGE("not drawn: Graphviz' dot is not installed");
    return {};
  }
  const TemporaryDirectory directory;
  const std::string in = (directory / "graph.dot").string();
  const std::string out = (directory / "graph.svg").string();
  const std::string messages = (directory / "messages").string();
  std::ofstream(in) << text;
  const std::string command = "dot -Tsvg '" + in + "' -o '" + out + "' 2> '" + messages + "'";
  const int status = std::system(command.c_str());
  std::ostringstream said, svg;
  said << std::ifstream(messages).rdbuf();
  svg << std::ifstream(out).rdbuf();
  CHECK(status == 0);
  CHECK_MESSAGE(said.str().empty(), said.str().substr(0, 300));
  return svg.str();
}

}  // namespace gradgraph::tests

#include <doctest/doctest.h>

#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "gradgraph/gradgraph.h"

using namespace gradgraph;

namespace {

/// The names in the first column of the first table of docs/ops.md.
std::set<std::string> published_names() {
  std::ifstream file(GRADGRAPH_TEST_DATA "/../../docs/ops.md");
  REQUIRE(file);
  std::set<std::string> names;
  const std::regex name("`(\\w+)`");
  bool in_table = false;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("| `", 0) == 0) {
      in_table = true;
      const std::string column = line.substr(0, line.find('|', 1));
      for (std::sregex_iterator match(column.begin(), column.end(), name), end; match != end;
           ++match)
        CHECK_MESSAGE(names.insert((*match)[1]).second, (*match)[1].str() << " stands twice");
    } else if (in_table) {
      break;
    }
  }
  return names;
}

}  // namespace

TEST_CASE("op lists: docs/ops.md names the ops without a gradient") {
  std::set<std::string> expected;
  for (const OpDef* op : op_registry().all())
    if (op->traits.non_differentiable && !op->traits.internal) expected.insert(op->name);
  CHECK(published_names() == expected);
}

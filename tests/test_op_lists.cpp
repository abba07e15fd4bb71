#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "tests_folder.h"

using namespace gradgraph;
using tests::message_of;

namespace {

/// The names in the first column of the first table of docs/ops.md.
std::set<std::string> published_names() {
  std::ifstream file(GRADGRAPH_TESTS_FOLDER "/../docs/ops.md");
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

TEST_CASE("op lists: every op has a schema, in words") {
  for (const OpDef* op : op_registry().all()) {
    CAPTURE(op->name);
    CHECK(!op->schema.doc.empty());
    std::set<std::string> names;
    bool is_last = false;
    for (const InputDef& input : op->schema.inputs) {
      CHECK(!is_last);
      is_last = input.kind == InputDef::Kind::list;
      CHECK(names.insert(input.name).second);
    }
    for (const AttributeDef& attribute : op->schema.attributes) {
      CHECK(names.insert(attribute.name).second);
      CHECK(!attribute.doc.empty());
    }
  }
}

namespace {

std::string table_of_ops() {
  std::string table = "| op | what it gives |\n| --- | --- |\n";
  for (const OpDef* op : op_registry().all()) {
    if (op->traits.internal) continue;
    std::string doc = op->schema.doc;
    for (const AttributeDef& attribute : op->schema.attributes)
      doc += "; `" + attribute.name + "`: " + attribute.doc;
    table += "| `" + op->signature() + "` | " + doc + " |\n";
  }
  return table;
}

}  // namespace

// With GRADGRAPH_UPDATE_DOCS set it writes the table instead.
TEST_CASE("op lists: docs/ops.md has the table of all ops") {
  const std::string path = GRADGRAPH_TESTS_FOLDER "/../docs/ops.md";
  std::ifstream file(path);
  REQUIRE(file.good());
  std::string page(std::istreambuf_iterator<char>(file), {});
  const std::string title = "## All ops\n";
  const auto begin = page.find("| op |", page.find(title));
  REQUIRE(begin != std::string::npos);
  const auto next = page.find("\n\n", begin);
  const std::string::size_type end = next == std::string::npos ? page.size() : next + 1;
  if (std::getenv("GRADGRAPH_UPDATE_DOCS"))
    std::ofstream(path) << page.replace(begin, end - begin, table_of_ops());
  else
    CHECK(page.substr(begin, end - begin) == table_of_ops());
}

TEST_CASE("schema: inputs and attributes are checked, and left-out ones get their defaults") {
  Graph graph;
  const Output x = placeholder(graph, float32, {2, 3});
  const auto add = [&](const char* op, const std::vector<Output>& inputs,
                       const Attributes& attributes) {
    return graph.add(op_registry().at(op), inputs, attributes, SourceLocation::current())
        .output();
  };
  const Node& made = add("leaky_relu", {x}, {}).node();
  CHECK(made.attributes().get<double>("slope") == 0.01);
  // A name of the caller's need not outlive the call.
  {
    std::string name = "slope";
    const Output y = add("leaky_relu", {x}, {{name, 0.5}});
    name = "gone!";
    CHECK(y.node().attributes().get<double>("slope") == 0.5);
  }
  const auto says = [&](const char* op, const std::vector<Output>& inputs,
                        const Attributes& attributes, const std::string& message) {
    const std::string error = message_of<BuildError>([&] { add(op, inputs, attributes); });
    CHECK_MESSAGE(error.find(message) != std::string::npos, error);
    CHECK_MESSAGE(error.find("test_op_lists.cpp:") != std::string::npos, error);
  };
  says("leaky_relu", {x}, {{"slop", 0.5}},
       "[leaky_relu] 'leaky_relu': there is no attribute 'slop', only: slope");
  says("leaky_relu", {x}, {{"slope", std::int64_t{1}}},
       "attribute 'slope' must be of type double, not int");
  says("leaky_relu", {x}, {{"slope", 0.5}, {"axis", std::int64_t{1}}},
       "there is no attribute 'axis', only: slope");
  says("softmax", {x}, {}, "attribute 'axis' (int) is missing");
  says("exp", {x}, {{"axis", std::int64_t{1}}}, "there is no attribute 'axis', only: none");
  says("add", {x}, {}, "takes 2 inputs (a, b), not 1");
  says("exp", {x, x}, {}, "takes 1 input (x), not 2");
  says("concat", {}, {{"axis", std::int64_t{0}}}, "concat");
}

TEST_CASE("schema: an op of a program's own is checked by what it says") {
  OpRegistry registry;
  OpDef& op = registry
                  .add({.name = "scale",
                        .infer =
                            [](InferContext& context) {
                              context.output(context.dtype(0), context.shape(0));
                            }})
                  .describe("x times a factor, plus a bias", {"x", "bias?"})
                  .attribute("factor", 2.0, "of x")
                  .attribute("weights", std::vector<double>{0.5, 1}, "of channels")
                  .required_attribute<std::vector<std::string>>("names", "of channels");
  CHECK(op.signature() ==
        "scale(x, bias?, factor: double = 2, weights: doubles = [0.5,1], names: strings)");
  Graph graph;
  const Output x = placeholder(graph, float32, {2});
  const Attributes names = {{"names", std::vector<std::string>{"a", "b"}}};
  const Node& one = graph.add(op, std::vector{x}, names, SourceLocation::current());
  CHECK(one.attributes().get<std::vector<double>>("weights")[1] == 1);
  CHECK(graph.add(op, std::vector{x, x}, names, SourceLocation::current()).num_inputs() == 2);
  CHECK_THROWS_AS(graph.add(op, std::vector{x, x, x}, names, SourceLocation::current()),
                  BuildError);
  CHECK_THROWS_AS(graph.add(op, {}, names, SourceLocation::current()), BuildError);
}

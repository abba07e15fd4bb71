#include <doctest/doctest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "noise.h"

/// Equations beside their definition: a sum over all values of all letters.
namespace gradgraph::tests {
namespace {

/// The definition, of float64. `extents` has the size of every letter.
Tensor by_definition(const std::vector<std::string>& labels, const std::string& result,
                     const std::vector<Tensor>& operands,
                     const std::map<char, std::int64_t>& extents) {
  Shape shape;
  for (const char letter : result) shape.append(extents.at(letter));
  Tensor sum = Tensor::zeros(float64, shape);
  std::map<char, std::int64_t> at;
  const auto offset = [&](const std::string& letters) {
    std::int64_t index = 0;
    for (const char letter : letters) index = index * extents.at(letter) + at[letter];
    return index;
  };
  std::int64_t total = 1;
  for (const auto& [letter, extent] : extents) total *= extent;
  for (std::int64_t step = 0; step < total; ++step) {
    std::int64_t rest = step;
    for (const auto& [letter, extent] : extents) {
      at[letter] = rest % extent;
      rest /= extent;
    }
    double product = 1;
    for (std::size_t i = 0; i < operands.size(); ++i)
      product *= operands[i].data<double>()[offset(labels[i])];
    sum.data<double>()[offset(result)] += product;
  }
  return sum;
}

TEST_CASE("einsum: random equations give what their definition says, sizes known or not") {
  std::mt19937 random(7);
  const auto draw = [&](std::size_t count) { return static_cast<std::size_t>(random() % count); };
  for (std::uint32_t trial = 0; trial < 150; ++trial) {
    const std::string letters = "abcdeZ";
    std::map<char, std::int64_t> extents;
    std::vector<std::string> labels(1 + draw(3));
    for (std::string& operand : labels)
      for (std::size_t axes = draw(4); operand.size() < axes;) {
        const char letter = letters[draw(letters.size())];
        if (operand.find(letter) != operand.npos) continue;
        operand += letter;
        extents.emplace(letter, static_cast<std::int64_t>(1 + draw(3)));
      }
    std::string result;
    for (const auto& [letter, extent] : extents)
      if (draw(2) == 0) result.insert(draw(result.size() + 1), 1, letter);
    std::string equation = labels[0];
    for (std::size_t i = 1; i < labels.size(); ++i) equation += "," + labels[i];
    equation += "->" + result;
    CAPTURE(std::string(equation));
    std::vector<Tensor> values;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      Shape shape;
      for (const char letter : labels[i]) shape.append(extents.at(letter));
      values.push_back(noise(shape, 10 * trial + static_cast<std::uint32_t>(i), float64));
    }
    const Tensor expected = by_definition(labels, result, values, extents);
    for (const bool is_known : {true, false}) {
      Graph graph;
      std::vector<Output> operands;
      Feeds feeds;
      for (const Tensor& value : values) {
        Shape shape = value.shape();
        for (int axis = 0; axis < shape.rank(); ++axis)
          if (!is_known && draw(2) == 0) shape.set(axis, any);
        operands.push_back(placeholder(graph, float64, shape));
        feeds.emplace_back(operands.back(), value);
      }
      const Output y = einsum(equation, operands);
      Session session(graph);
      CHECK(close(session.run(feeds, y), expected, 1e-12));
    }
  }
}

TEST_CASE("einsum: attention's products, with axes that broadcast, take no detour") {
  Graph graph;
  const Output q = placeholder(graph, float32, {any, 5, 2, 4}),
               k = placeholder(graph, float32, {any, 7, 2, 4});
  const Output scores = einsum("bqhd,bkhd->bhqk", {q, k});
  CHECK(scores.shape() == Shape{any, 2, 5, 7});
  int products = 0, reshapes = 0;
  for (const Node& node : graph.nodes()) {
    products += node.op().name == "matmul" ? 1 : 0;
    reshapes += node.op().name == "reshape" ? 1 : 0;
  }
  CHECK(products == 1);
  CHECK(reshapes == 0);
}

TEST_CASE("einsum: what does not fit is told with the equation, and leaves nothing behind") {
  Graph graph;
  const Output x = placeholder(graph, float32, {2, 3}), y = placeholder(graph, float32, {4, 3}),
               z = placeholder(graph, float32, {any, 3});
  const auto nodes = graph.nodes().size();
  const auto fails = [&](const char* equation, const std::vector<Output>& operands,
                         const char* message) {
    const std::string text = message_of([&] { einsum(equation, operands); });
    CAPTURE(std::string(equation));
    CHECK_MESSAGE(contains(text, message), text);
    CHECK(contains(text, equation));
    CHECK(contains(text, "test_einsum.cpp"));
    CHECK(graph.nodes().size() == nodes);
  };
  fails("ij,jk->ik", {x, y}, "axis 'j' has 3 elements and 4");
  fails("ij,kj", {x}, "the equation is of 2 operands, not of 1");
  fails("ij", {x, y}, "the equation is of 1 operands, not of 2");
  fails("ijk->i", {x}, "operand 0 has 2 axes, its part of the equation 3");
  fails("i...->i", {x}, "the result lacks '...'");
  fails("...i...", {x}, "'...' stands twice");
  fails("ij->ik", {x}, "no operand has the result's axis 'k'");
  fails("ij->ii", {x}, "the result has axis 'i' twice");
  fails("i1->i", {x}, "'1' is no axis");
  fails("ij->i>", {x}, "'>' is no axis");
  fails("ii", {x}, "the diagonal of 'ii' needs two axes of one known size, not those of [2,3]");
  fails("ii", {z}, "not those of [?,3]");
  fails("ij,kj", {x, {}}, "an operand is empty");
  CHECK(contains(message_of([&] { einsum("ij", {}); }), "input 0 is empty"));
}

}  // namespace
}  // namespace gradgraph::tests

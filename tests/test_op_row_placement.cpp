#include <doctest/doctest.h>

#include "op_rows.h"
#include "random_placement.h"

/// Every op and its gradients give the same bits on any device.
namespace gg = gradgraph;
using gg::Output;
using gg::Tensor;
using gg::tests::check_same;
using gg::tests::open_session;
using gg::tests::scatter;

namespace {

/// The outputs of a row, and the gradients where it has some.
std::vector<Output> with_gradients(const gg::tests::OpRow& row, const std::vector<Output>& inputs,
                                   std::vector<Output> outputs) {
  std::vector<Output> ys, xs;
  for (const Output& y : outputs)
    if (gg::is_floating(y.dtype())) ys.push_back(y);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (gg::is_floating(inputs[i].dtype())) xs.push_back(inputs[i]);
  if (!row.gradient || ys.empty() || xs.empty()) return outputs;
  for (const Output& gradient : gg::gradients(ys, xs)) outputs.push_back(gradient);
  return outputs;
}

}  // namespace

TEST_SUITE("random placement") {
  TEST_CASE("every op row") {
    std::mt19937_64 random(5);
    for (const gg::tests::OpRow& row : gg::tests::op_rows()) {
      CAPTURE(row.name);
      gg::Graph graph;
      gg::Feeds feeds;
      std::vector<Output> inputs;
      for (const Tensor& value : row.inputs) {
        inputs.push_back(gg::placeholder(graph, value.dtype(), value.shape()));
        feeds.emplace_back(inputs.back(), value);
      }
      if (inputs.empty()) continue;  // makes a graph of its own
      const auto fetches = with_gradients(row, inputs, row.build(inputs));
      const std::vector<Tensor> expected = open_session(graph).run(feeds, fetches);
      const std::string device = scatter(graph, random);
      check_same(open_session(graph, device).run(feeds, fetches), expected);
    }
  }
}

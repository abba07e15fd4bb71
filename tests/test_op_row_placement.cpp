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
using gg::tests::with_gradients;

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

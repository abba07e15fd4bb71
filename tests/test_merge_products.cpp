#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "noise.h"
#include "pass_drawing.h"
#include "passes/topology.h"
#include "special_values.h"

/// Sums of products that become one product.
using namespace gradgraph;
using tests::draw;

namespace {

const std::vector<std::string> kMerge = {"merge_products"};

bool is_merged(Graph& graph, const std::vector<Output>& fetches) {
  return draw(graph, fetches, kMerge).find("concat") != std::string::npos;
}

/// `count` products of [8, 1] and [1, 8], stored as `options` say.
std::vector<Output> products(Graph& graph, int count, DType dtype, MatmulOptions options = {}) {
  std::vector<Output> result;
  for (int i = 0; i < count; ++i) {
    const Shape wide = {1, 8}, tall = {8, 1};
    const auto seed = static_cast<unsigned>(2 * i + 1);
    const Output a =
        variable(graph, tests::noise(options.transpose_a ? wide : tall, seed, dtype));
    const Output b =
        variable(graph, tests::noise(options.transpose_b ? tall : wide, seed + 1, dtype));
    result.push_back(matmul(a, b, options));
  }
  return result;
}

void check_same_sums(Graph& graph, const std::vector<Output>& fetches, double tolerance) {
  REQUIRE(is_merged(graph, fetches));
  Session without(graph, {.threads = 1, .disabled_passes = kMerge});
  const auto expected = without.run({}, fetches);
  for (const int threads : {1, 3}) {
    Session with(graph, {.threads = threads});
    const auto actual = with.run({}, fetches);
    for (std::size_t i = 0; i < fetches.size(); ++i)
      CHECK(tests::find_difference(actual[i], expected[i], tolerance, 1) == "");
  }
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("merge_products: a sum of products is one product") {
    Graph graph;
    const Output a = placeholder(graph, float32, {2, 8}, "a");
    const Output b = placeholder(graph, float32, {2, 8}, "b");
    const Output c = placeholder(graph, float32, {8, 8}, "c");
    const Output sum =
        matmul(a, b, {.transpose_a = true}) + c +
        (matmul(b, a, {.transpose_a = true}) + matmul(b, b, {.transpose_a = true}));
    CHECK(draw(graph, {sum}, kMerge) ==
          "add_2 = concat(a, b, b) axis=0\n"
          "add_2' = concat(b, a, b) axis=0\n"
          "add_2'' = matmul(add_2, add_2') transpose_a=true\n"
          "add_2''' = add(add_2'', c)\n"
          "fetch(add_2''')\n");
    CHECK(tests::rewrites(graph, {sum}, kMerge) ==
          "merge_products: 'add_2' has 3 products in one");
  }

  TEST_CASE("merge_products: what stays as it is") {
    Graph graph;
    const auto p = products(graph, 3, float32);
    CHECK(is_merged(graph, {p[0] + p[1]}));
    CHECK_FALSE(is_merged(graph, {p[0] + p[1], p[1]}));  // read elsewhere
    CHECK_FALSE(is_merged(graph, {p[0] - p[1]}));        // no sum
    CHECK_FALSE(is_merged(graph, {p[0] + relu(p[1])}));  // something in between
    CHECK_FALSE(is_merged(graph, {p[0] + p[0]}));        // one product
    const Output first = p[0] + p[1];                    // is read by a sum, and by somebody else
    CHECK(tests::rewrites(graph, {first + p[2], relu(first)}, kMerge) ==
          "merge_products: 'add_4' has 2 products in one");
    const auto turned = products(graph, 1, float32, {.transpose_b = true});
    CHECK_FALSE(is_merged(graph, {p[0] + turned[0]}));  // stored otherwise
    // Longer than high and wide: it would take more to copy than it saves.
    const Output a = placeholder(graph, float32, {2, 9}), b = placeholder(graph, float32, {9, 2});
    CHECK_FALSE(is_merged(graph, {matmul(a, b) + matmul(a + 1, b)}));
    // Rows that are computed here are not copied to be joined.
    const Output tall = placeholder(graph, float32, {9, 2}),
                 wide = placeholder(graph, float32, {9, 3});
    const auto product = [](const Output& x, const Output& y) {
      return matmul(x, y, {.transpose_a = true});
    };
    CHECK_FALSE(is_merged(graph, {product(tall, wide) + product(tall + 1, wide + 1)}));
    CHECK(is_merged(graph, {product(tall + 2, wide + 2) + product(tall + 1, wide + 1)}));
    // Several at once.
    const Output many = placeholder(graph, float32, {1, 8, 2});
    const Output more = placeholder(graph, float32, {1, 2, 8});
    CHECK_FALSE(is_merged(graph, {matmul(many, more) + matmul(many * 2, more)}));

    Session exact(graph, {.exact_rewrites = true});
    CHECK(exact.explain_passes({}, {p[0] + p[1]}).find("merge_products") == std::string::npos);
  }

  TEST_CASE("merge_products: after an update nothing moves") {
    Graph graph;
    const Output w = variable(graph, Tensor::full(float32, {8, 2}, 1), "w");
    const Output x = variable(graph, tests::noise({2, 8}, 1, float32));
    const Output update = assign(w, w * 2.F);
    const auto after = control_dependencies(graph, {update});
    const Output sum = matmul(w, x) + matmul(w + 1.F, x);
    CHECK_FALSE(is_merged(graph, {sum, update}));
  }

  TEST_CASE("merge_products: values, however the operands are stored") {
    for (const DType dtype : {float32, float64})
      for (const bool transpose_a : {false, true})
        for (const bool transpose_b : {false, true}) {
          Graph graph;
          auto terms = products(graph, 7, dtype, {transpose_a, transpose_b});
          const auto others = products(graph, 2, dtype, {!transpose_a, transpose_b});
          terms.insert(terms.begin() + 3, others.begin(), others.end());
          terms.insert(terms.begin() + 5, constant(graph, tests::noise({8, 8}, 9, dtype)));
          terms.push_back(constant(graph, tests::noise({8}, 10, dtype)));  // broadcast
          Output sum = terms[0];
          for (std::size_t i = 1; i < terms.size(); ++i)
            sum = i % 3 == 0 ? terms[i] + sum : sum + terms[i];
          check_same_sums(graph, {relu(sum), gradgraph::sum(sum)},
                          dtype == float32 ? 1e-5 : 1e-13);
        }
  }

  TEST_CASE("nodes that are added to a graph have no readers in a topology of before") {
    Graph graph;
    const Output x = placeholder(graph, float32, {2, 2}, "x");
    const Output y = x + x;
    const Topology topology(graph, {&y.node()});
    CHECK(topology.readers(x.node()).size() == 2);
    for (int i = 0; i < 4; ++i) {
      const Output later = matmul(x, y);
      CHECK(topology.readers(later.node()).empty());
      CHECK(topology.only_reader(later.node()) == nullptr);
      CHECK_FALSE(topology.is_awaited(later.node()));
    }
  }

  TEST_CASE("merge_products: a sum that reads one that is a product already") {
    Graph graph;
    const std::vector<Output> p = products(graph, 4, float64);
    const Output inner = p[0] + p[1];
    // Read twice, so it is no part of the other sum.
    check_same_sums(graph, {inner * 2.0, inner + p[2] + p[3]}, 1e-14);
  }

  TEST_CASE("merge_products: an LSTM's gradients of its weights") {
    Graph graph;
    const Output x = variable(graph, tests::noise({2, 12, 3}, 1, float64));
    const nn::Lstm lstm({.units = 16});
    const Output loss = mean(square(lstm(x).outputs));
    check_same_sums(graph, gradients({loss}, lstm.variables()), 1e-12);
  }

  TEST_CASE("merge_products: ten thousand products are found in time") {
    Graph graph;
    const Output a = variable(graph, tests::noise({8, 1}, 1, float32));
    const Output b = variable(graph, tests::noise({1, 8}, 2, float32));
    Output sum = matmul(a, b);
    for (int i = 1; i < 10000; ++i) sum = sum + matmul(a * static_cast<float>(i), b);
    CHECK(is_merged(graph, {sum}));
  }
}

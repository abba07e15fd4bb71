#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "pass_drawing.h"
#include "passes/pass_list.h"

/// The passes that look at one node at a time: the graph before and after each.
using namespace gradgraph;
using tests::draw;

namespace {

struct Xyz {
  Graph graph;
  Output x = placeholder(graph, float32, {2, 3}, "x");
  Output y = placeholder(graph, float32, {2, 3}, "y");
  Output n = placeholder(graph, int32, {2, 3}, "n");
  Output c = placeholder(graph, boolean, {2, 3}, "c");
  Output row = placeholder(graph, float32, {3}, "row");

  /// What becomes of `value`, which the pass must leave with a single node or none.
  std::string after(const std::vector<std::string>& passes, Output value) {
    return draw(graph, {value}, passes);
  }
};

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("simplify: a chain of identities") {
    Xyz g;
    const Output y = -(-((g.x * 1.f - 0.f) / 1.f));
    CHECK(draw(g.graph, {y}) ==
          "mul = mul(x, 1)\n"
          "sub = sub(mul, 0)\n"
          "div = div(sub, 1)\n"
          "neg = neg(div)\n"
          "neg_1 = neg(neg)\n"
          "fetch(neg_1)\n");
    CHECK(draw(g.graph, {y}, {"simplify"}) == "fetch(x)\n");
    CHECK(tests::rewrites(g.graph, {y}, {"simplify"}) ==
          "simplify: 'mul' = 'x': mul(x, 1) -> x\n"
          "simplify: 'sub' = 'x': sub(x, 0) -> x\n"
          "simplify: 'div' = 'x': div(x, 1) -> x\n"
          "simplify: 'neg_1' = 'x': neg(neg(x)) -> x");
  }

  TEST_CASE("simplify: what each rule makes") {
    Xyz g;
    const auto after = [&](Output value) { return g.after({"simplify"}, value); };
    CHECK(after(-0.f - g.x) == "sub = neg(x)\nfetch(sub)\n");
    CHECK(after(0 - g.n) == "sub_1 = neg(n)\nfetch(sub_1)\n");
    CHECK(after(g.x + (-g.y)) == "add = sub(x, y)\nfetch(add)\n");
    CHECK(after((-g.y) + g.x) == "add_1 = sub(x, y)\nfetch(add_1)\n");
    CHECK(after(g.x - (-g.y)) == "sub_2 = add(x, y)\nfetch(sub_2)\n");
    CHECK(after(-(g.n - 5)) == "neg_3 = sub(5, n)\nfetch(neg_3)\n");
    CHECK(after((-g.x) * (-g.y)) == "mul = mul(x, y)\nfetch(mul)\n");
    CHECK(after(g.x * g.x) == "mul_1 = square(x)\nfetch(mul_1)\n");
    CHECK(after(g.x / 4.f) == "div = div(1, 4)\ndiv' = mul(x, div)\nfetch(div')\n");
    CHECK(after(pow(g.x, 2)) == "pow = square(x)\nfetch(pow)\n");
    CHECK(after(1 / gradgraph::sqrt(g.x)) == "div_1 = rsqrt(x)\nfetch(div_1)\n");
    CHECK(after(gradgraph::log(softmax(g.x, 0))) == "log = log_softmax(x) axis=0\nfetch(log)\n");
    CHECK(after(logical_not(equal(g.x, g.y))) ==
          "logical_not = not_equal(x, y)\n"
          "fetch(logical_not)\n");
    CHECK(after(where(logical_not(g.c), g.x, g.y)) == "where = where(c, y, x)\nfetch(where)\n");
    CHECK(after(where(g.c, g.x, g.x)) == "fetch(x)\n");
    for (const bool condition : {true, false})
      CHECK(after(where(constant(g.graph, Tensor(condition)), g.x, g.y)) ==
            (condition ? "fetch(x)\n" : "fetch(y)\n"));
    CHECK(after(cast(g.x, float32)) == "fetch(x)\n");
    CHECK(after(cast(cast(g.x, float64), float32)) == "fetch(x)\n");
    CHECK(after(cast(cast(g.n, int64), float32)) ==
          "cast_4 = cast(n) dtype=float32\n"
          "fetch(cast_4)\n");
  }

  TEST_CASE("simplify: the shape of what was broadcast stays") {
    Xyz g;
    CHECK(draw(g.graph, {g.row * Tensor::full(float32, {2, 3}, 1)}, {"simplify"}) ==
          "mul = broadcast_to(row, [2,3])\nfetch(mul)\n");
    CHECK(draw(g.graph, {where(g.c, g.row, g.row)}, {"simplify"}) ==
          "where = broadcast_to(row, [2,3])\nfetch(where)\n");
  }

  TEST_CASE("simplify: constants meet") {
    Xyz g;
    const std::vector<std::string> passes = {"simplify", "fold_constants"};
    CHECK(g.after(passes, 2 * (g.n * 3)) == "mul_1 = mul(n, 6)\nfetch(mul_1)\n");
    CHECK(g.after(passes, -(g.x * 3)) == "neg = mul(x, -3)\nfetch(neg)\n");
    CHECK(g.after(passes, g.n + 2 + 3) == "add_1 = add(n, 5)\nfetch(add_1)\n");
  }

  TEST_CASE("simplify: what must stay") {
    Xyz g;
    const auto stays = [&](Output value) {
      CHECK(g.after({"simplify", "fold_constants"}, value) == draw(g.graph, {value}));
    };
    stays(g.x * 0.f);             // x may be infinite
    stays(g.x - g.x);             // or NaN
    stays(g.x / g.x);             //
    stays(g.x + 0.f);             // or -0, which this makes 0
    stays(g.x - -0.f);            //
    stays(0 - g.x);               // of 0 that is 0
    stays(-(g.x - g.y));          // of equal ones that is -0
    stays(maximum(g.x, 0));       // of -0 that is 0
    stays(g.x + 1e20f + -1e20f);  // one addition swallows x
    stays(g.x * 2.f * 0.5f);      // the first product may be too large
    stays(g.x / 3.f);             // its reciprocal is rounded
    stays(cast(cast(g.x, int32), float32));
    stays(cast(cast(g.n, float32), int32));  // large integers are rounded
    stays(logical_not(less(g.x, g.y)));      // both are false for NaN
    stays(gradgraph::sqrt(square(g.x)));     // a square may overflow
  }

  TEST_CASE("simplify: integers may what numbers with infinity may not") {
    Xyz g;
    CHECK(g.after({"simplify"}, g.n * 0) == "mul = broadcast_to(0, [2,3])\nfetch(mul)\n");
    CHECK(g.after({"simplify"}, g.n - g.n) == "sub = broadcast_to(0, [2,3])\nfetch(sub)\n");
  }

  TEST_CASE("simplify: dropout that never trains is nothing") {
    Xyz g;
    const Output y = dropout(g.x, 0.5, constant(g.graph, Tensor(false)));
    CHECK(draw(g.graph, {y}, {"simplify", "eliminate_moves"}) == "fetch(x)\n");
    CHECK(draw(g.graph, {dropout(g.x, 0.5, constant(g.graph, Tensor(true)))},
               {"simplify", "eliminate_moves"})
              .find("dropout_mask") != std::string::npos);
  }

  TEST_CASE("eliminate_moves: reshapes and transposes") {
    Xyz g;
    const auto after = [&](Output value) { return g.after({"eliminate_moves"}, value); };
    CHECK(after(reshape(reshape(g.x, {6}), {3, 2})) ==
          "reshape_1 = reshape(x, [3,2])\nfetch(reshape_1)\n");
    CHECK(after(reshape(flatten(expand_dims(g.x, 0)), {2, 3})) == "fetch(x)\n");
    CHECK(after(identity(stop_gradient(g.x))) == "fetch(x)\n");
    CHECK(after(transpose(transpose(g.x))) == "fetch(x)\n");
    const Output cube = placeholder(g.graph, float32, {2, 3, 4}, "cube");
    CHECK(after(transpose(transpose(cube, {2, 0, 1}), {0, 2, 1})) ==
          "transpose_3 = transpose(cube) permutation=(2,1,0)\nfetch(transpose_3)\n");
    const Output thin = placeholder(g.graph, float32, {1, 5, 1}, "thin");
    CHECK(after(transpose(thin, {1, 2, 0})) ==
          "transpose_4 = reshape(thin, [5,1,1])\nfetch(transpose_4)\n");
    CHECK(after(sum(thin, {0, 2})) == "sum = reshape(thin, [5])\nfetch(sum)\n");
    const Output numbers = placeholder(g.graph, int32, {2, 3, 4}, "numbers");
    CHECK(after(sum(sum(numbers, 1), {0})) == "sum_2 = sum(numbers) axes=(0,1)\nfetch(sum_2)\n");
    CHECK(after(gradgraph::max(gradgraph::max(numbers, 0, true), 2, true)) ==
          "max_1 = max(numbers) axes=(0,2) keep_dims=true\nfetch(max_1)\n");
    // The order in which floats are added up may be seen.
    CHECK(after(mean(mean(cube, 1), {0})) ==
          "mean = mean(cube) axes=(1)\nmean_1 = mean(mean) axes=(0)\nfetch(mean_1)\n");
    CHECK(after(concat({slice(g.x, {0, 0}, {-1, -1})}, 0)) == "fetch(x)\n");
    CHECK(after(tile(pad(g.x, {0, 0}, {0, 0}), {1, 1})) == "fetch(x)\n");
  }

  TEST_CASE("eliminate_moves: a product takes its operands as they lie") {
    Xyz g;
    const Output product = matmul(transpose(g.x), g.y);
    CHECK(draw(g.graph, {product}) ==
          "transpose = transpose(x) permutation=(1,0)\n"
          "matmul = matmul(transpose, y)\n"
          "fetch(matmul)\n");
    CHECK(draw(g.graph, {product}, {"eliminate_moves"}) ==
          "matmul = matmul(x, y) transpose_a=true\nfetch(matmul)\n");
    const MatmulOptions both = {.transpose_a = true, .transpose_b = true};
    CHECK(draw(g.graph, {matmul(transpose(g.x), g.y, both)}, {"eliminate_moves"}) ==
          "matmul_1 = matmul(x, y) transpose_b=true\nfetch(matmul_1)\n");
  }

  TEST_CASE("eliminate_moves: elementwise ops broadcast by themselves") {
    Xyz g;
    const auto after = [&](Output value) { return g.after({"eliminate_moves"}, value); };
    CHECK(after(broadcast_to(g.row, {2, 3}) + g.x) == "add = add(row, x)\nfetch(add)\n");
    CHECK(after(zeros_like(g.x) + g.x) == "add_1 = add(0, x)\nfetch(add_1)\n");
    CHECK(after(gradgraph::exp(broadcast_to(g.row, {2, 3}))) ==
          "exp = exp(row)\nexp' = broadcast_to(exp, [2,3])\nfetch(exp')\n");
  }

  TEST_CASE("fold_constants: what appears through other rewrites") {
    Xyz g;
    const Output one = constant(g.graph, Tensor(1.f)), two = constant(g.graph, Tensor(2.f));
    const Output sum = where(constant(g.graph, Tensor(true)), two, sum_to(g.x, {})) + one;
    CHECK(draw(g.graph, {g.x * sum}, {"simplify"}) ==
          "add = add(2, 1)\nmul = mul(x, add)\nfetch(mul)\n");
    CHECK(draw(g.graph, {g.x * sum}, {"simplify", "fold_constants"}) ==
          "mul_1 = mul(x, 3)\nfetch(mul_1)\n");
  }

  TEST_CASE("fold_constants: an empty vector of floats is no vector of integers") {
    Graph graph;
    const Output x = placeholder(graph, float32, {0}, "x");
    const Output y = gradgraph::sin(concat({x, x}, 0));
    CHECK(Session(graph).run({{x, Tensor(float32, {0})}}, y).dtype() == float32);
  }

  TEST_CASE("eliminate_common: equal nodes become one") {
    Xyz g;
    const Output a = gradgraph::exp(g.x + g.y), b = gradgraph::exp(g.y + g.x);
    CHECK(draw(g.graph, {a * b, sum(a, 0), sum(b, 0), sum(b, 1)}, {"eliminate_common"}) ==
          "add = add(x, y)\n"
          "exp = exp(add)\n"
          "mul = mul(exp, exp)\n"
          "fetch(mul)\n"
          "sum = sum(exp) axes=(0)\n"
          "fetch(sum)\n"
          "fetch(sum)\n"
          "sum_2 = sum(exp) axes=(1)\n"
          "fetch(sum_2)\n");
    CHECK(tests::rewrites(g.graph, {a + b}, {"eliminate_common"}) ==
          "eliminate_common: 'add_1' = 'add': the same op of the same inputs\n"
          "eliminate_common: 'exp_1' = 'exp': the same op of the same inputs");
  }

  TEST_CASE("eliminate_common: random numbers, variables and order stay apart") {
    Graph graph;
    const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
    const Output noise = random_uniform(graph, {2}) + random_uniform(graph, {2});
    const Output update = assign_add(w, Tensor{1.f, 1.f});
    const Output before = w * 2.f;
    Output after;
    {
      const auto guard = control_dependencies(graph, {update});
      after = w * 2.f;
    }
    const std::string text = draw(graph, {noise, before, after}, {"eliminate_common"});
    CHECK(text.find("random_uniform_1") != std::string::npos);
    CHECK(text.find("mul_1 = mul(w, 2) after assign_add") != std::string::npos);
    Session session(graph);
    const auto values = session.run({}, {before, after});
    CHECK(values[0].at<float>({1}) == 4.f);
    CHECK(values[1].at<float>({1}) == 6.f);
  }

  TEST_CASE("lower_bias_add: an addition that broadcasts") {
    Xyz g;
    CHECK(draw(g.graph, {bias_add(g.x, g.row)}, {"lower_bias_add"}) ==
          "bias_add = add(x, row)\nfetch(bias_add)\n");
    const Output image = placeholder(g.graph, float32, {2, 3, 4, 5}, "image");
    CHECK(draw(g.graph, {bias_add(image, g.row, Layout::nchw)}, {"lower_bias_add"}) ==
          "bias_add_1 = reshape(row, [3,1,1])\n"
          "bias_add_1' = add(image, bias_add_1)\n"
          "fetch(bias_add_1')\n");
    CHECK(draw(g.graph, {relu(bias_add(g.x, g.row))}, {"lower_bias_add", "fuse_elementwise"}) ==
          "relu = fused(x, row) program=add(0, 1); relu(2)\nfetch(relu)\n");
  }

  TEST_CASE("rewrites do not look past a node that waits for another") {
    Graph graph;
    const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
    const Output update = assign(w, Tensor{5.f, 6.f});
    Output late;
    {
      const auto guard = control_dependencies(graph, {update});
      late = identity(w);
    }
    const Output y = identity(late) * 1.f;
    CHECK(Session(graph).run(y).at<float>({1}) == 6.f);
    CHECK(draw(graph, {y}, tests::all_passes_but({"fuse_elementwise"})) ==
          "assign = assign(w, constant[2])\n"
          "identity = identity(w) after assign\n"
          "identity_1 = identity(identity)\n"
          "mul = mul(identity_1, 1)\n"
          "fetch(mul)\n");
  }

  TEST_CASE("a budget stops after that many rewrites, whatever the pass") {
    Xyz g;
    const Output y = -(-(g.x * 1.f)) + reshape(reshape(g.x, {6}), {2, 3});
    const auto rewrites_within = [&](std::int64_t budget) {
      RewriteLog log(/*writes_lines=*/true, budget);
      const FedValue feed = {g.x, float32, {2, 3}, {}};
      SpecializedGraph copy = specialize(
          g.graph, {feed}, {y}, [](const Node&) { return std::optional<std::vector<Tensor>>(); });
      run_passes(*copy.graph,
                 {.fetches = copy.fetches,
                  .can_fuse = [](const Node&) { return true; },
                  .has_kernel = [](const Node&, std::string_view) { return true; },
                  .evaluate = [](const Node&) { return std::optional<std::vector<Tensor>>(); }},
                 {}, log);
      return log.lines();
    };
    const std::vector<std::string> all = rewrites_within(RewriteLog::kUnlimited);
    REQUIRE(all.size() >= 3);
    for (std::size_t budget = 0; budget <= all.size(); ++budget) {
      const auto some = rewrites_within(static_cast<std::int64_t>(budget));
      CHECK(some == std::vector<std::string>(all.begin(),
                                             all.begin() + static_cast<std::ptrdiff_t>(budget)));
    }
  }
}

#include <functional>
#include <limits>
#include <string>

#include "attention_networks.h"
#include "kernel_helpers.h"
#include "ops/nn/attention.h"
#include "pass_drawing.h"
#include "special_values.h"

/// Attention as one node: the pass that makes it, and its kernels.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

const std::vector<std::string> kFusion = {"fuse_attention"};

const Sizes kSizes[] = {
    {2, 3, 64, 64, 16, 16},  // whole vectors
    {1, 2, 65, 70, 5, 3},    // none
    {1, 1, 300, 290, 20, 33},
    {1, 2, 67, 1030, 8, 16},  // weights that are made anew, rows longer than a page
    {2, 1, 130, 9, 1, 40},
    {1, 2, 64, 1024, 4, 4},  // the longest that are kept, of a page
};

std::string lines_of(Graph& graph, const std::vector<Output>& fetches,
                     const SessionOptions& options = {}) {
  return Session(graph, options).explain_passes({}, fetches);
}
bool is_fused(Graph& graph, const std::vector<Output>& fetches) {
  return lines_of(graph, fetches).find("fuse_attention") != std::string::npos;
}

/// As it is written, up to rounding, NaN where that has NaN; the same bits from any number of
/// threads.
void check_same(Network& network, const char* line) {
  const std::string lines = lines_of(network.graph, network.fetches);
  INFO(lines);
  CHECK(lines.find(line) != std::string::npos);
  Session plain(network.graph, {.threads = 2, .disabled_passes = kFusion});
  const auto expected = plain.run({}, network.fetches);
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 3, 7}) {
    Session fused(network.graph, {.threads = threads});
    const auto actual = fused.run({}, network.fetches);
    if (first.empty()) first = actual;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      CHECK(find_difference(actual[i], expected[i], 2e-5, 1) == "");
      CHECK(same_bits(actual[i], first[i]));
    }
  }
}

/// What depends on nobody but itself: some sizes that fuse.
const Sizes kSome{1, 2, 64, 8, 4, 4};

}  // namespace

TEST_CASE("fuse_attention: the same results and gradients as without it") {
  for (const Sizes& s : kSizes)
    for (const MaskKind kind : kMasks)
      for_each_isa([&] {
        CAPTURE(s.queries);
        CAPTURE(static_cast<int>(kind));
        Network network(s, [&](Network& n) { return attend(n, s, kind); });
        check_same(network, "' is part of attention and its gradients");
      });
}

TEST_CASE("fuse_attention: kernels against the reference") {
  for (const Sizes& s : kSizes)
    for (const MaskKind kind : kMasks)
      for (const bool keeps : {false, true}) {
        CAPTURE(s.queries);
        CAPTURE(static_cast<int>(kind));
        if (keeps && s.keys == 1030) continue;
        const double hidden = kind == MaskKind::scattered ? -3 : -kInfinity;
        Graph graph;
        const Attributes attributes = {
            {"scale", -0.7}, {"hidden", hidden}, {"keeps_weights", keeps}};
        std::vector<Output> inputs = {constant(graph, values(s.q(), 1)),
                                      constant(graph, values(s.k(), 2)),
                                      constant(graph, values(s.v(), 3))};
        std::vector<Output> forward_inputs = inputs;
        inputs.push_back(constant(graph, values(s.result(), 4)));
        if (kind != MaskKind::none)
          for (auto* list : {&forward_inputs, &inputs})
            list->push_back(constant(graph, mask_of(kind, s)));
        const Node& forward =
            graph.add(op_registry().at("fused_attention"), forward_inputs, attributes, {});
        std::vector<std::vector<Tensor>> results;
        for (const int threads : {0, 1, 2, 3, 16}) {  // 0: the reference
          const bool reference = threads == 0;
          auto outputs = compute_all(forward, std::max(threads, 1), reference);
          auto grad_inputs = inputs;
          if (keeps) grad_inputs.push_back(constant(graph, outputs[1]));
          const Node& grad =
              graph.add(op_registry().at("fused_attention_grad"), grad_inputs, attributes, {});
          auto& all = results.emplace_back(compute_all(grad, std::max(threads, 1), reference));
          all.push_back(outputs[0]);
          for (std::size_t i = 0; i < all.size(); ++i) {
            CHECK(find_difference(all[i], results[0][i], 2e-5, 1) == "");
            if (threads > 1) CHECK(same_bits(all[i], results[1][i]));
          }
        }
      }
}

TEST_CASE("fuse_attention: however it is written") {
  const auto check = [](const char* line, const Network::Build& build) {
    Network network(kSome, build);
    check_same(network, line);
  };
  const char* whole = "' is part of attention and its gradients";
  check(whole, [](Network& n) {  // keys as columns, a quotient
    return matmul(softmax(matmul(n.q, transpose(n.k, {0, 1, 3, 2})) / 1.7F), n.v);
  });
  check(whole, [](Network& n) {  // no scale
    return matmul(softmax(matmul(n.q, n.k, {.transpose_b = true})), n.v);
  });
  check(whole, [](Network& n) { return attend(n, kSome, MaskKind::causal, -1e9); });
  check(whole, [](Network& n) { return attend(n, kSome, MaskKind::causal, 0.5); });
  check(whole, [](Network& n) {  // two masks
    const Output scores = 0.5F * matmul(n.q, n.k, {.transpose_b = true});
    const Output one = masked(n.graph, scores, MaskKind::causal, kSome);
    return matmul(softmax(masked(n.graph, one, MaskKind::head, kSome)), n.v);
  });
  check(whole, [](Network& n) {  // the mask in front
    const Output scores = matmul(n.q, n.k, {.transpose_b = true}) * 2.F;
    return matmul(softmax(constant(n.graph, mask_of(MaskKind::added, kSome)) + scores), n.v);
  });
  check(whole, [](Network& n) {  // queries, keys and values that are one
    return matmul(softmax(matmul(n.q, n.q, {.transpose_b = true})), n.q);
  });
  check(whole, [](Network& n) {  // of attention
    const Output first = attend(n, kSome, MaskKind::causal);
    const Output scores = matmul(first, n.k, {.transpose_b = true});
    return matmul(softmax(scores), n.v + stop_gradient(n.v));
  });
  check("' is part of attention and its gradients",
        [](Network& n) {  // a gradient that is missing
          const Output scores = matmul(stop_gradient(n.q), n.k, {.transpose_b = true});
          return matmul(softmax(scores), stop_gradient(n.v)) + sum(n.q) + sum(n.v);
        });
}

TEST_CASE("fuse_attention: without gradients, and gradients of gradients") {
  Network network(kSome, [](Network& n) { return attend(n, kSome, MaskKind::causal); });
  CHECK(lines_of(network.graph, {network.result}).find("' is part of attention") !=
        std::string::npos);
  auto second = gradients({sum(square(network.fetches[0]))}, {network.q, network.k, network.v});
  Session fused(network.graph, {.threads = 1}),
      plain(network.graph, {.threads = 1, .disabled_passes = kFusion});
  for (const auto& fetches : {std::vector<Output>{network.result}, second}) {
    const auto expected = plain.run({}, fetches), actual = fused.run({}, fetches);
    for (std::size_t i = 0; i < actual.size(); ++i)
      CHECK(find_difference(actual[i], expected[i], 2e-5, 1) == "");
  }
}

TEST_CASE("fuse_attention leaves alone what it cannot stand for") {
  const auto fuses = [](const Network::Build& build, const Sizes& s = kSome) {
    Network network(s, build);
    return is_fused(network.graph, network.fetches);
  };
  const auto scores = [](Network& n) { return matmul(n.q, n.k, {.transpose_b = true}); };
  REQUIRE(fuses([&](Network& n) { return matmul(softmax(scores(n)), n.v); }));
  // Few queries; the other axis; a mask without a place for each key.
  CHECK_FALSE(
      fuses([&](Network& n) { return matmul(softmax(scores(n)), n.v); }, {1, 2, 63, 8, 4, 4}));
  CHECK_FALSE(fuses([&](Network& n) { return matmul(softmax(scores(n), 2), n.v); }));
  CHECK_FALSE(fuses([&](Network& n) {
    const Output bias = constant(n.graph, Tensor::full(float32, {64, 1}, 0.5));
    return matmul(softmax(scores(n) + bias), n.v);
  }));
  // Dropout; weights that somebody else sees; a bias that is trained; other functions between.
  CHECK_FALSE(fuses([&](Network& n) {
    return matmul(dropout(softmax(scores(n)), 0.5, constant(n.graph, Tensor(true))), n.v);
  }));
  CHECK_FALSE(fuses([&](Network& n) {
    const Output weights = softmax(scores(n));
    return matmul(weights, n.v) + sum(square(weights));
  }));
  CHECK_FALSE(fuses([&](Network& n) {
    const Output bias = variable(n.graph, values({64, 8}, 5));
    const Output result = matmul(softmax(scores(n) + bias), n.v);
    n.fetches = gradients({sum(square(result))}, {bias});
    return result + sum(n.fetches[0]);
  }));
  CHECK_FALSE(fuses([&](Network& n) { return matmul(softmax(tanh(scores(n))), n.v); }));
  CHECK_FALSE(fuses([&](Network& n) {
    const Output hidden = constant(n.graph, values({8}, 6));
    return matmul(softmax(where(greater(hidden, 0), scores(n), hidden)), n.v);
  }));
  // One key and value for all heads.
  CHECK_FALSE(fuses([&](Network& n) {
    const Output one = slice(n.k, {0, 0, 0, 0}, {1, 1, 8, 4});
    return matmul(softmax(matmul(n.q, one, {.transpose_b = true})), n.v);
  }));
}

TEST_CASE("fuse_attention: of float32 alone, and not where rewrites must be exact") {
  Network network(kSome, [](Network& n) { return attend(n, kSome, MaskKind::causal); });
  CHECK(
      lines_of(network.graph, network.fetches, {.exact_rewrites = true}).find("fuse_attention") ==
      std::string::npos);
  Graph graph;
  const Output q = variable(graph, noise({64, 4}, 1));
  CHECK_FALSE(is_fused(graph, {matmul(softmax(matmul(q, q, {.transpose_b = true})), q)}));
}

TEST_CASE("fuse_attention: after an update nothing moves") {
  Graph graph;
  const Output q = variable(graph, values({64, 4}, 1), "q");
  const Output update = assign(q, q * 2.F);
  const auto after = control_dependencies(graph, {update});
  const Output result = matmul(softmax(matmul(q, q * 1.F, {.transpose_b = true})), q);
  CHECK_FALSE(is_fused(graph, {result, update}));
}

TEST_CASE("fuse_attention: values may be made of what would be their own gradient") {
  Graph graph;
  const Output q = variable(graph, values({64, 4}, 1)), k = variable(graph, values({8, 4}, 2)),
               g = variable(graph, values({64, 4}, 3));
  const Output weights = softmax(matmul(q, k, {.transpose_b = true}));
  const Output v = matmul(weights, g, {.transpose_a = true});
  const Output by_weights = matmul(g, v, {.transpose_b = true});
  const Output by_scores = weights * (by_weights - sum(by_weights * weights, -1, true));
  const std::vector<Output> fetches = {v, matmul(by_scores, k)};
  CHECK_FALSE(is_fused(graph, fetches));
  Session fused(graph), plain(graph, {.disabled_passes = kFusion});
  const auto expected = plain.run({}, fetches), actual = fused.run({}, fetches);
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(find_difference(actual[i], expected[i], 2e-5, 1) == "");
}

TEST_CASE("fuse_attention: values may be another attention's result") {
  Graph graph;
  const auto value = [&](unsigned seed) { return variable(graph, values({64, 6}, seed)); };
  const Output q = value(1), k = value(2), v = value(3), q2 = value(4), k2 = value(5);
  const auto attend_to = [](const Output& queries, const Output& keys, const Output& rows) {
    return matmul(softmax(matmul(queries, keys, {.transpose_b = true})), rows);
  };
  const Output y = attend_to(q2, k2, attend_to(q, k, v));
  std::vector<Output> fetches = gradients({sum(y * value(6))}, {q, k, v, q2, k2});
  fetches.push_back(y);
  const std::string lines = lines_of(graph, fetches);
  const std::string line = "is part of attention and its gradients";
  CHECK(lines.find(line) != lines.rfind(line));
  Session fused(graph, {}), plain(graph, {.disabled_passes = kFusion});
  const auto actual = fused.run({}, fetches), expected = plain.run({}, fetches);
  for (std::size_t i = 0; i < actual.size(); ++i)
    CHECK(find_difference(actual[i], expected[i], 2e-5, 1) == "");
}

TEST_CASE("fuse_attention: what is hidden takes no part, whatever it is") {
  const Sizes s{1, 1, 64, 64, 8, 8};
  Graph graph;
  Tensor value = values(s.v(), 3);
  for (std::int64_t i = 40 * 8; i < 64 * 8; ++i) value.data<float>()[i] = std::nanf("");
  const Output q = variable(graph, values(s.q(), 1)), k = variable(graph, values(s.k(), 2));
  Tensor mask = Tensor::full(boolean, {1, 64}, 0);
  std::fill_n(mask.data<bool>(), 32, true);
  const Output scores = where(constant(graph, mask), matmul(q, k, {.transpose_b = true}),
                              -std::numeric_limits<double>::infinity());
  const Output v = placeholder(graph, float32, s.v());
  const Output result = matmul(softmax(scores), v);
  Session fused(graph), exact(graph, {.exact_rewrites = true});
  const Tensor finite = fused.run({{v, values(s.v(), 3)}}, result);
  CHECK(same_bits(fused.run({{v, value}}, result), finite));
  CHECK(std::isnan(exact.run({{v, value}}, result).data<float>()[0]));
}

TEST_CASE("fuse_attention: a transformer's block in training") {
  Graph graph;
  const Output x = constant(graph, values({2, 70, 12}, 1));
  const Output target = constant(graph, values({2, 70, 12}, 2));
  nn::MultiHeadAttention attention({.heads = 3, .causal = true});
  const Output loss = mean(square(attention(attention(x)) - target));
  const Output train = Adam{.learning_rate = 0.01}.minimize(loss);
  std::vector<std::vector<Tensor>> trained;
  for (const bool fused : {true, false}) {
    SessionOptions options{.seed = 1, .threads = 2};
    if (!fused) options.disabled_passes = kFusion;
    Session session(graph, options);
    CHECK((session.explain_passes({}, {loss, train}).find("fuse_attention") !=
           std::string::npos) == fused);
    auto& losses = trained.emplace_back();
    for (int step = 0; step < 20; ++step) losses.push_back(session.run({}, {loss, train})[0]);
  }
  CHECK(trained[0].back().data<float>()[0] < trained[0].front().data<float>()[0]);
  for (std::size_t step = 0; step < 20; ++step)
    CHECK(close(trained[0][step], trained[1][step], 1e-5));
}

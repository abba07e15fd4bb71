#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "noise.h"
#include "pass_drawing.h"

/// What passes must leave in its place: reads of variables before and after their updates, and
/// nodes that others wait for.
using namespace gradgraph;
using gradgraph::tests::all_passes_but;
using gradgraph::tests::noise;

namespace {

const SessionOptions kPlain = {.disabled_passes = all_passes_but({})};

/// What reads `w` before it is updated, beside what reads it after that.
float sum_of_reads(const std::function<Output(Output)>& read_before,
                   const SessionOptions& options) {
  Graph graph;
  const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
  const Output before = read_before(w);
  Output after;
  {
    const auto guard = control_dependencies(graph, {assign(w, Tensor{5.f, 5.f})});
    after = identity(w);
  }
  return Session(graph, options).run(before + after).at<float>({0});
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("a value that was read before an update stays what it was") {
    const std::function<Output(Output)> reads[] = {
        [](Output w) { return identity(w); },
        [](Output w) { return stop_gradient(w); },
        [](Output w) { return w * 1.f; },
        [](Output w) { return cast(w, float32); },
        [](Output w) {
          return reshape(reshape(w, {1, 2}), {2});
        },
        [](Output w) { return squeeze(transpose(transpose(expand_dims(w, 0)))); },
        [](Output w) { return where(constant(w.graph(), Tensor(true)), w, 0); },
        [](Output w) { return slice(w, {0}, {2}); },
        [](Output w) { return -(-w); },
    };
    for (std::size_t i = 0; i < std::size(reads); ++i) {
      CAPTURE(i);
      CHECK(sum_of_reads(reads[i], {}) == 6.f);
      CHECK(sum_of_reads(reads[i], kPlain) == 6.f);
    }
    const auto negative = [](Output w) { return -w; };  // not the new value, subtracted
    CHECK(sum_of_reads(negative, {}) == 4.f);
  }

  TEST_CASE("images and gradients that depend on an update read variables after it") {
    Graph graph;
    const Tensor first = noise({1, 2, 4, 4}, 1, float32),
                 second = noise({1, 2, 4, 4}, 2, float32);
    const Output image = variable(graph, first, "image");
    const Output filter = constant(graph, noise({2, 2, 2, 3}, 3, float32));
    const Output update = assign(image, second);
    Output late;
    {
      const auto guard = control_dependencies(graph, {update});
      late = conv2d(image, filter, {.layout = Layout::nchw});
    }
    const Output fed = placeholder(graph, float32, {1, 2, 4, 4});
    const Output expected = conv2d(fed, filter, {.layout = Layout::nchw});
    const Feeds feeds = {{fed, second}};
    const auto values = Session(graph).run(feeds, {late, expected});
    for (std::int64_t i = 0; i < values[0].num_elements(); ++i)
      REQUIRE(values[0].data<float>()[i] == doctest::Approx(values[1].data<float>()[i]));
  }

  TEST_CASE("a loss that nothing holds back is computed before updates, whatever its gradient") {
    Graph graph;
    const Output w = variable(graph, Tensor(1.f), "w");
    const Output logits = placeholder(graph, float32, {1, 2}),
                 labels = placeholder(graph, int64, {1});
    const Output losses = sparse_softmax_cross_entropy(logits, labels);
    const Output loss = sum(losses) * 0.f + w;
    Output scale;
    {
      const auto guard = control_dependencies(graph, {assign(w, Tensor(3.f))});
      scale = identity(w);
    }
    const Output grad = gradients({sum(losses) * scale}, {logits})[0];
    const Feeds feeds = {{logits, Tensor{{1.f, 2.f}}}, {labels, Tensor{std::int64_t{0}}}};
    for (const SessionOptions& options : {SessionOptions{}, kPlain}) {
      Session session(graph, options);
      CHECK(session.run(feeds, {loss, grad})[0].item<float>() == 1.f);
    }
  }

  TEST_CASE("what a fused node's parts wait for still runs, and may refuse") {
    Graph graph;
    const Output i = placeholder(graph, int64, {1}, "i"), x = placeholder(graph, float32, {4, 4});
    const Output checked = gather(constant(graph, Tensor{1.f, 2.f}), i);
    const auto after = [&](const std::function<Output()>& make) {
      const auto guard = control_dependencies(graph, {checked});
      return make();
    };
    const Output w = variable(graph, Tensor::full(float32, {4, 4}, 1), "w");
    const Output v = variable(graph, Tensor::full(float32, {4, 4}, 1), "v");
    const Output image = reshape(x, {1, 4, 4, 1}),
                 filter = constant(graph, Tensor::full(float32, {1, 1, 1, 1}, 2));
    const Output bias = constant(graph, Tensor{1.f});
    const Output twice = x * 2.f;
    const Output inner = after([&] { return gradgraph::tanh(x); });
    const Output convolved = after([&] { return conv2d(image, filter); });
    const std::vector<std::vector<Output>> cases = {
        {relu(inner + 1.f)},
        {sum(after([&] { return square(x); }), 0)},
        {relu(after([&] { return matmul(x, x); }) + 1.f)},
        {group(graph, {after([&] { return assign(w, twice); }), assign_add(v, x)})},
        {max_pool2d(relu(bias_add(convolved, bias)), {.window = 2, .strides = 2})},
    };
    const Feeds feeds = {{i, Tensor{std::int64_t{7}}}, {x, Tensor::full(float32, {4, 4}, 1)}};
    for (std::size_t c = 0; c < cases.size(); ++c) {
      CAPTURE(c);
      for (const SessionOptions& options : {SessionOptions{}, kPlain})
        CHECK_THROWS_WITH_AS(Session(graph, options).run(feeds, cases[c]),
                             doctest::Contains("index 7"), RunError);
    }
  }
}

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "gradient_orders.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "noise.h"
#include "special_values.h"

/// Layers as objects, and what layers compute and refuse.
namespace gradgraph::tests {
namespace {

using Outputs = std::vector<Output>;

}  // namespace

TEST_CASE("layers: step by step is as all steps at once, from nothing as from zeros") {
  Graph graph;
  const Output x = constant(graph, noise({3, 4, 5}, 1));
  const auto step_of = [&](std::int64_t i) {
    return squeeze(slice(x, {0, i, 0}, {-1, 1, -1}), {1});
  };
  const Output zero = constant(graph, Tensor::full(float64, {3, 6}, 0));
  const nn::Lstm lstm({.units = 6});
  const nn::Gru gru({.units = 6});
  nn::LstmState lstm_state;
  Output gru_state;
  for (std::int64_t i = 0; i < 4; ++i) {
    lstm_state = lstm.step(step_of(i), lstm_state);
    gru_state = gru.step(step_of(i), gru_state);
  }
  CHECK(lstm.variables().size() == 3);
  CHECK(gru.variables().size() == 4);
  CHECK(variables(graph).size() == 7);
  const std::vector<Tensor> values = Session(graph).run(
      {}, {lstm_state.hidden, lstm(x).state.hidden, lstm(x, {zero, zero}).state.hidden,
           lstm_state.cell, lstm(x).state.cell, lstm(x, {zero, zero}).state.cell, gru_state,
           gru(x).state, gru(x, zero).state});
  for (std::size_t i = 0; i < values.size(); ++i) {
    CAPTURE(i);
    const auto a = values[i].span<double>(), b = values[i - i % 3].span<double>();
    for (std::size_t k = 0; k < a.size(); ++k) CHECK(std::fabs(a[k] - b[k]) <= 1e-14);
  }
  // The forget gate begins open.
  const Tensor bias = Session(graph).value(lstm.variables()[2]);
  CHECK(bias.data<double>()[5] == 0);
  CHECK(bias.data<double>()[6] == 1);
  CHECK(bias.data<double>()[12] == 0);
}

TEST_CASE("layers: samples of different lengths are as each alone, in both directions") {
  Graph graph;
  const std::vector<std::int64_t> lengths = {4, 1, 3, 0};
  const Output x = constant(graph, noise({4, 4, 5}, 3)),
               start = constant(graph, noise({4, 6}, 4)),
               steps = constant(graph, Tensor::from(lengths, {4}));
  const nn::Lstm lstm({.units = 6});
  const nn::Gru gru({.units = 6});
  for (const bool reverse : {false, true})
    for (const bool has_state : {false, true}) {
      CAPTURE(reverse);
      CAPTURE(has_state);
      const auto state_of = [&](const Output& state) { return has_state ? state : Output(); };
      const Output from = state_of(start);
      const nn::LstmResult all = lstm(x, {from, from}, {.lengths = steps, .reverse = reverse});
      const nn::GruResult all_gru = gru(x, from, {.lengths = steps, .reverse = reverse});
      const std::vector<Output> batch = {all.outputs, all.state.hidden, all.state.cell,
                                         all_gru.outputs, all_gru.state};
      Output loss = sum(sin(batch[0])),
             loss_alone = constant(graph, Tensor::full(float64, {}, 0));
      for (std::size_t k = 1; k < batch.size(); ++k) loss = loss + sum(sin(batch[k]));
      for (std::int64_t i = 0; i < 4; ++i) {
        const std::int64_t length = lengths[static_cast<std::size_t>(i)];
        const Output first = state_of(slice(start, {i, 0}, {1, -1}));
        std::vector<Output> alone;
        if (length > 0) {
          const Output own = slice(x, {i, 0, 0}, {1, length, -1});
          const nn::LstmResult one = lstm(own, {first, first}, {.reverse = reverse});
          const nn::GruResult one_gru = gru(own, first, {.reverse = reverse});
          alone = {one.outputs, one.state.hidden, one.state.cell, one_gru.outputs, one_gru.state};
        } else {
          const Output none = constant(graph, Tensor::full(float64, {1, 0, 6}, 0)),
                       zero = constant(graph, Tensor::full(float64, {1, 6}, 0)),
                       still = has_state ? first : zero;
          alone = {none, still, still, none, still};
        }
        std::vector<Output> differences;
        for (std::size_t k = 0; k < alone.size(); ++k) {
          loss_alone = loss_alone + sum(sin(alone[k]));
          if (k % 3 == 0 && length < 4)
            differences.push_back(max(abs(slice(batch[k], {i, length, 0}, {1, -1, -1}))));
          if (k % 3 != 0)
            differences.push_back(max(abs(slice(batch[k], {i, 0}, {1, -1}) - alone[k])));
          else if (length > 0)
            differences.push_back(
                max(abs(slice(batch[k], {i, 0, 0}, {1, length, -1}) - alone[k])));
        }
        for (const Tensor& difference : Session(graph).run({}, differences))
          CHECK(difference.item<double>() <= 1e-14);
      }
      std::vector<Output> all_variables = lstm.variables();
      for (const Output& variable : gru.variables()) all_variables.push_back(variable);
      std::vector<Output> both = gradients({loss}, all_variables);
      for (const Output& gradient : gradients({loss_alone}, all_variables))
        both.push_back(gradient);
      Session session(graph);
      const std::vector<Tensor> values = session.run({}, both);
      for (std::size_t i = 0; i < values.size() / 2; ++i) {
        CAPTURE(i);
        const auto a = values[i].span<double>(), b = values[i + values.size() / 2].span<double>();
        for (std::size_t k = 0; k < a.size(); ++k) CHECK(std::fabs(a[k] - b[k]) <= 1e-12);
      }
    }
}

TEST_CASE("layers: nothing is read behind a sample's length") {
  Graph graph;
  Tensor padded = noise({2, 3, 4}, 3);
  for (std::int64_t i = 4; i < 12; ++i) padded.data<double>()[i] = std::nan("");
  const Output x = placeholder(graph, float64, {any, 3, 4}, "x"),
               steps = placeholder(graph, int32, {any}, "steps");
  const nn::Lstm lstm({.units = 2});
  const nn::Gru gru({.units = 2});
  const Output loss = sum(lstm(x, {}, {.lengths = steps}).outputs) +
                      sum(gru(x, {}, {.lengths = steps, .reverse = true}).outputs);
  Session session(graph);
  for (const Output& gradient : gradients({loss}, variables(graph)))
    for (const double value :
         session.run({{x, padded}, {steps, Tensor{1, 3}}}, gradient).span<double>())
      CHECK(std::isfinite(value));
  // Nor is it taken for another one.
  for (const int length : {-1, 4})
    CHECK_THROWS_WITH_AS(session.run({{x, padded}, {steps, Tensor{3, length}}}, loss),
                         doctest::Contains("lengths/check_indices'"), RunError);
  // One length is not everyone's.
  CHECK_THROWS_AS(session.run({{x, padded}, {steps, Tensor{1}}}, loss), RunError);
  CHECK_THROWS_AS(session.run({{x, padded}, {steps, Tensor{1, 2, 3}}}, loss), RunError);
}

TEST_CASE("layers: activations with a parameter have it as it is by default") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 4, 3}, "x");
  Session session(graph);
  const Tensor value = noise({2, 4, 3}, 5, float32);
  const auto is = [&](const nn::Activation& activation, const Output& y) {
    CHECK(same_bits(session.run({{x, value}}, activation(x)), session.run({{x, value}}, y)));
  };
  is(leaky_relu, leaky_relu(x));
  is(elu, elu(x));
  is(gelu, gelu(x));
  is(log_softmax, log_softmax(x));
  // Nobody knows what that of another function should be.
  Output (*const other)(Output, double, SourceLocation) =
      [](Output y, double factor, SourceLocation where) { return mul(y, factor, where); };
  CHECK_THROWS_WITH_AS(nn::Activation{other},
                       doctest::Contains("this function takes a parameter"), BuildError);
  int calls = 0;
  const auto counting = [calls](Output y, SourceLocation) mutable {
    ++calls;
    return y;
  };
  const nn::Sequential model = {counting, nn::Lstm({.units = 6}), nn::MultiHeadAttention({}),
                                nn::Gru({.units = 5})};
  CHECK(model(x).shape() == Shape{any, 4, 5});
  CHECK(model.variables() == variables(graph));
  // A layer of the user's has its own default, and shows what it has made since.
  struct Own {
    Output made = {};
    Output operator()(Output y, double factor = 3, SourceLocation = SourceLocation::current()) {
      if (!made) made = variable(y.graph(), Tensor(2.f), "own");
      return y * made * factor;
    }
    std::vector<Output> variables(SourceLocation) const { return {made}; }
  };
  const nn::Sequential own = {Own()};
  const Output z = own(constant(graph, Tensor{1.f}));
  CHECK(Session(graph).run(z).item<float>() == 6);
  CHECK(own.variables().at(0).name() == "own");
  // The line is the user's.
  const Output flat = placeholder(graph, float32, {any, 3});
  CHECK(contains(message_of([&] { nn::Sequential({nn::Lstm({.units = 2})})(flat); }),
                 "(test_layers.cpp:"));
}

TEST_CASE("layers: attention sees what its masks show") {
  Graph graph;
  const Tensor values = noise({2, 3, 4}, 2);
  const Output x = placeholder(graph, float64, {2, 3, 4}, "x");
  const nn::MultiHeadAttention attend({.heads = 2, .causal = true});
  const Output y = attend(x);
  Tensor changed = values.clone();
  for (int i = 8; i < 12; ++i) changed.data<double>()[i] += 1;  // the last step of the first row
  Session session(graph);
  const Tensor before = session.run({{x, values}}, y), after = session.run({{x, changed}}, y);
  for (std::size_t i = 0; i < 24; ++i) {
    const bool same = before.span<double>()[i] == after.span<double>()[i];
    CHECK(same == (i < 8 || i >= 12));
  }
  // Only the first key is seen: what the others hold makes no difference.
  const Tensor mask = Tensor{{true, false, false}};
  const nn::MultiHeadAttention first({.heads = 1}, "first");
  const Output z = first(x, {.mask = constant(graph, mask)});
  const Tensor one = session.run({{x, values}}, z);
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(std::fabs(one.span<double>()[i] - one.span<double>()[i + 4]) <= 1e-14);
}

TEST_CASE("layers: an object applied twice has its variables once") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 3}, "x"),
               z = placeholder(graph, float32, {any, 3}, "z");
  const nn::Dense encode({.units = 2, .activation = gradgraph::tanh}, "encode");
  CHECK(contains(message_of([&] { encode.variables(); }),
                 "'encode' has no variables before it is first applied  (test_layers.cpp:"));
  const nn::Dense copy = encode;
  const Output a = encode(x), b = copy(z);
  REQUIRE(encode.variables().size() == 2);
  CHECK(encode.variables()[0].name() == "encode/kernel");
  CHECK(variables(graph).size() == 2);
  CHECK(a.node().name().starts_with("encode/"));
  CHECK(b.node().name().starts_with("encode_1/"));
  const Tensor value = noise({4, 3}, 3, float32);
  Session session(graph);
  const std::vector<Tensor> results = session.run({{x, value}, {z, value}}, {a, b});
  CHECK(std::ranges::equal(results[0].span<float>(), results[1].span<float>()));
  // Its parameters count once, and both applications give to its gradient.
  CHECK(contains(summary(graph), "Trainable: 8\n"));
  const Output once = gradients({sum(a)}, {encode.variables()[0]})[0];
  const Output twice = gradients({sum(a) + sum(b)}, {encode.variables()[0]})[0];
  const std::vector<Tensor> grads = session.run({{x, value}, {z, value}}, {once, twice});
  for (std::size_t i = 0; i < 6; ++i)
    CHECK(grads[1].span<float>()[i] == doctest::Approx(2 * grads[0].span<float>()[i]));
}

TEST_CASE("layers: an object refuses what its variables do not fit, and stays as it was") {
  Graph graph, other;
  const nn::Dense layer({.units = 2}, "layer");
  const auto input = [](Graph& of, DType dtype, std::int64_t width) {
    return placeholder(of, dtype, {any, width});
  };
  const Output x = input(graph, float32, 3), wide = input(graph, float32, 4),
               doubles = input(graph, float64, 3), elsewhere = input(other, float32, 3);
  // One that fails makes no variables.
  const nn::Dense broken({.units = 2, .activation = [](Output) { return Output(); }}, "broken");
  CHECK(contains(message_of([&] { broken(x); }), "the activation gives an empty Output"));
  CHECK_THROWS_AS(broken.variables(), BuildError);
  layer(x);
  const int nodes = graph.num_nodes();
  CHECK(contains(message_of([&] { layer(wide); }),
                 "'layer/kernel', made when the layer was first applied, is float32[3,2]; this "
                 "application needs float32[4,2]"));
  CHECK(contains(message_of([&] { layer(doubles); }), "needs float64[3,2]"));
  CHECK(contains(message_of([&] { layer(elsewhere); }),
                 "the layer has its variables in another graph"));
  CHECK(graph.num_nodes() == nodes);
  CHECK(other.num_nodes() == 1);
}

TEST_CASE("layers: sequential, and a struct of layers") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 5}, "x");
  const nn::Sequential model = {nn::Dense({.units = 4}, "first"), relu,
                                [](Output y) { return y * 2.f; },
                                nn::Dense({.units = 3}, "second"), softmax};
  const Output y = model(x), again = model(x);
  CHECK(y.shape() == Shape{any, 3});
  CHECK(variables(graph).size() == 4);
  CHECK(model.variables() == variables(graph));
  CHECK(nn::Sequential({model, model}).variables().size() == 4);
  CHECK_THROWS_AS(nn::Sequential({nn::Dense({.units = 1})}).variables(), BuildError);
  const Tensor value = noise({2, 5}, 4, float32);
  const std::vector<Tensor> results = Session(graph).run({{x, value}}, {y, again});
  CHECK(std::ranges::equal(results[0].span<float>(), results[1].span<float>()));

  struct Block {
    nn::Dense wide{{.units = 10, .activation = gelu_exact}, "wide"};
    nn::Dense back{{.units = 5}, "back"};
    nn::LayerNorm norm;
    static Output gelu_exact(Output of, SourceLocation where) { return gelu(of, false, where); }
    Output operator()(Output of) const { return norm(of + back(wide(of))); }
  };
  const Block block;
  CHECK(nn::Sequential({block, block})(x).shape() == Shape{any, 5});
  CHECK(variables(graph, "wide*").size() == 2);

  // Of a result of several the output goes on.
  const Output training = constant(graph, Tensor(true));
  const nn::Sequential normal = {nn::BatchNorm({.training = training}, "normal"), relu};
  CHECK(normal(x).shape() == Shape{any, 5});
  CHECK(normal.variables().size() == 4);

  const int nodes = graph.num_nodes();
  CHECK(contains(message_of([&] {
                   nn::Sequential({relu, nn::Activation()})(x);
                 }),
                 "[sequential]: layer 1 is empty"));
  CHECK(contains(message_of([&] { nn::Sequential({[](Output) { return Output(); }})(x); }),
                 "[sequential]: layer 0 gives an empty Output"));
  CHECK(graph.num_nodes() == nodes);
}

TEST_CASE("layers: batch_norm has the gradients of what it computes, of first and second order") {
  for (const bool training : {true, false})
    for (const bool batch_is_known : {true, false})
      for (const int axis : {1, 3}) {
        CAPTURE(training);
        CAPTURE(batch_is_known);
        CAPTURE(axis);
        Graph graph;
        Shape shape = {2, 3, 4, 3};
        const Tensor value = tests::noise(shape, 5);
        if (!batch_is_known) shape.set(0, any);
        const Output x = placeholder(graph, float64, shape, "x");
        const Output y = nn::batch_norm(x,
                                        {.training = constant(graph, Tensor(training)),
                                         .momentum = 0.5,
                                         .epsilon = 1e-3,
                                         .axis = axis},
                                        "norm")
                             .output;
        const auto find = [&](const std::string& name) {
          return graph.find("norm/" + name)->output();
        };
        const auto line_up = [&](const Output& vector) {
          return axis == 3 ? vector : reshape(vector, {3, 1, 1});
        };
        const Output scale = find("scale"), offset = find("offset");
        const Axes others = axis == 3 ? Axes{0, 1, 2} : Axes{0, 2, 3};
        const Output middle = training ? mean(x, others, true) : line_up(find("running_mean"));
        const Output variance =
            training ? var(x, others, true) : line_up(find("running_variance"));
        const Output expected =
            (x - middle) / sqrt(variance + 1e-3) * line_up(scale) + line_up(offset);
        const Outputs by = {x, scale, offset};
        const Outputs actual = gradients_of_two_orders(y, value, by),
                      wanted = gradients_of_two_orders(expected, value, by);
        Session session(graph);
        for (const char* name : {"scale", "running_variance"})
          session.set_value(find(name), Tensor{0.5, 1.5, 0.75});
        for (const char* name : {"offset", "running_mean"})
          session.set_value(find(name), Tensor{-0.5, 0.25, 2.0});
        Outputs fetches = actual;
        fetches.insert(fetches.end(), wanted.begin(), wanted.end());
        const auto values = session.run({{x, value}}, fetches);
        for (std::size_t i = 0; i < actual.size(); ++i) {
          CAPTURE(i);
          CHECK(tests::find_difference(values[i], values[i + actual.size()], 1e-9, 1) == "");
        }
      }
}

TEST_CASE("layers: apply moves what batch_norm tracks, and a second application does not") {
  Graph graph;
  const Output x = constant(graph, Tensor{{1.f, 5.f}, {3.f, 5.f}});
  const nn::BatchNorm norm({.training = constant(graph, Tensor(true)), .momentum = 0.5});
  const nn::BatchNormResult first = norm(x), second = norm(x * 10.f);
  CHECK(first.update);
  CHECK_FALSE(second.update);
  const Output loss = sum(square(first.output)) + sum(square(second.output));
  const Output train = GradientDescent{}.apply(compute_gradients(loss));
  Session session(graph);
  session.run(train);
  const Output mean = variables(graph, "*running_mean")[0];
  CHECK(session.value(mean).data<float>()[0] == 1);
  CHECK(session.value(mean).data<float>()[1] == 2.5);
}

TEST_CASE("layers: group_norm is what its definition says, in either layout") {
  const Tensor values = noise({3, 4, 5, 6}, 1);
  for (const std::int64_t groups : {1, 2, 6})
    for (const bool last : {true, false}) {
      CAPTURE(groups);
      CAPTURE(last);
      Graph graph;
      const Output x = placeholder(graph, float64, {any, 4, 5, 6}, "x");
      const Output images = last ? x : transpose(x, {0, 3, 1, 2});
      const nn::GroupNorm norm({.groups = groups, .epsilon = 0.1, .axis = last ? -1 : 1});
      Output y = norm(images);
      CHECK(y.shape().compatible_with(images.shape()));
      if (!last) y = transpose(y, {0, 2, 3, 1});
      Session session(graph);
      const Output scale = graph.find("group_norm/scale")->output();
      const Output offset = graph.find("group_norm/offset")->output();
      session.set_value(scale, Tensor{1.0, 2.0, 3.0, 4.0, 5.0, 6.0});
      session.set_value(offset, Tensor{0.0, 1.0, 0.0, 1.0, 0.0, 1.0});
      const Tensor result = session.run({{x, values}}, y);
      const std::int64_t each = 6 / groups;
      double worst = 0;
      for (std::int64_t n = 0; n < 3; ++n)
        for (std::int64_t group = 0; group < groups; ++group) {
          double sum = 0, squares = 0;
          const auto visit = [&](const auto& body) {
            for (std::int64_t pixel = 0; pixel < 20; ++pixel)
              for (std::int64_t c = group * each; c < (group + 1) * each; ++c)
                body((n * 20 + pixel) * 6 + c, static_cast<double>(c));
          };
          visit([&](std::int64_t i, double) { sum += values.data<double>()[i]; });
          const double count = 20.0 * static_cast<double>(each), mean = sum / count;
          visit([&](std::int64_t i, double) {
            squares += std::pow(values.data<double>()[i] - mean, 2);
          });
          visit([&](std::int64_t i, double c) {
            const double normal =
                (values.data<double>()[i] - mean) / std::sqrt(squares / count + 0.1);
            const double expected = normal * (c + 1) + std::fmod(c, 2);
            worst = std::max(worst, std::fabs(result.data<double>()[i] - expected));
          });
        }
      CHECK(worst < 1e-13);
    }
}

TEST_CASE("layers: what group_norm refuses") {
  Graph graph;
  const auto fails = [&](const char* message, const auto& function) {
    const int nodes = graph.num_nodes();
    CHECK(contains(message_of(function), message));
    CHECK(graph.num_nodes() == nodes);
  };
  const Output x = placeholder(graph, float32, {any, 4, 4, 6}, "x");
  const Output wide = placeholder(graph, float32, {any, 4, 4, any}, "wide");
  const Output counts = placeholder(graph, int32, {any, 4, 4, 6}, "counts");
  fails("32 groups do not divide 6 channels", [&] { nn::group_norm(x); });
  fails("groups must be positive, not 0", [&] { nn::group_norm(x, {.groups = 0}); });
  fails("axis 4 is not one of x", [&] { nn::group_norm(x, {.groups = 2, .axis = 4}); });
  fails("cannot be along axis 0", [&] { nn::group_norm(x, {.groups = 2, .axis = -4}); });
  fails("axis 3 of x", [&] { nn::group_norm(wide, {.groups = 2}); });
  fails("[group_norm]", [&] { nn::group_norm(counts, {.groups = 2}); });
  fails("epsilon", [&] { nn::group_norm(x, {.groups = 2, .epsilon = -1}); });
}

TEST_CASE("layers: what layers for sequences refuse") {
  Graph graph;
  const auto fails = [&](const char* message, const auto& function) {
    const int nodes = graph.num_nodes();
    CHECK(contains(message_of(function), message));
    CHECK(graph.num_nodes() == nodes);
  };
  const Output x = placeholder(graph, float32, {any, 4, 6}, "x"),
               endless = placeholder(graph, float32, {any, any, 6}, "endless"),
               flat = placeholder(graph, float32, {any, 6}, "flat"),
               state = placeholder(graph, float32, {any, 7}, "state"),
               mask = placeholder(graph, float32, {4, 4}, "mask"),
               of_samples = placeholder(graph, boolean, {2, 4}, "of_samples"),
               five = placeholder(graph, float32, {any, 5, 6}, "five"),
               whole = placeholder(graph, int32, {any, 6}, "whole"),
               of_any_width = placeholder(graph, float32, {any, 4, any}, "of_any_width");
  fails("units must be positive, not 0", [&] { nn::Lstm({})(x); });
  fails("x must be [N, steps, features]", [&] { nn::Lstm({.units = 2})(flat); });
  fails("x must be [N, features]", [&] { nn::Gru({.units = 2}).step(x); });
  fails("axis 1 of x", [&] { nn::Gru({.units = 2})(endless); });
  fails("a state is both hidden and cell, or neither", [&] {
    nn::Lstm({.units = 7})(x, {state, {}});
  });
  fails("a state must be float32[N,2], not float32[?,7]",
        [&] { nn::Gru({.units = 2})(x, state); });
  fails("lengths must be integers [N], not float32[?,7]",
        [&] { nn::Lstm({.units = 2})(x, {}, {.lengths = state}); });
  fails("4 heads do not divide a width of 6", [&] { nn::MultiHeadAttention({.heads = 4})(x); });
  fails("heads must be positive, not 0", [&] { nn::MultiHeadAttention({.heads = 0})(x); });
  fails("queries must be [N, steps, width]", [&] { nn::MultiHeadAttention({})(flat); });
  fails("needs `training`", [&] { nn::MultiHeadAttention({.dropout_rate = 0.1})(x); });
  fails("of [N,keys] must be [N,1,1,keys]",
        [&] { nn::MultiHeadAttention({})(x, {.mask = of_samples}); });
  fails("as many values as keys, not [?,4,6] and [?,5,6]",
        [&] { nn::MultiHeadAttention({})(x, {.keys = five, .values = x}); });
  fails("the mask must be boolean", [&] { nn::MultiHeadAttention({})(x, {.mask = mask}); });
  const Output fewer = slice(x, {0, 0, 0}, {-1, 2, -1});
  fails("causal attention needs as many keys as queries",
        [&] { nn::MultiHeadAttention({.causal = true})(x, {.keys = fewer}); });
  CHECK(nn::MultiHeadAttention({.heads = 2}, "any_length")(endless).shape() ==
        Shape{any, any, 6});
  fails("x must be [N, steps, channels], not [?,6]", [&] { nn::conv1d(flat, {.filters = 2}); });
  fails("a causal convolution pads by itself",
        [&] { nn::conv1d(x, {.filters = 2, .padding = Padding::same, .causal = true}); });
  fails("a causal convolution pads by itself",
        [&] { nn::conv1d(x, {.filters = 2, .after = 1, .causal = true}); });
  fails("the dilation must be positive, not 0",
        [&] { nn::conv1d(x, {.filters = 2, .dilation = 0}); });
  fails("a border needs Padding::explicit_", [&] { nn::conv1d(x, {.filters = 2, .before = 1}); });
  fails("4 groups do not divide 6 channels", [&] { nn::conv1d(x, {.filters = 4, .groups = 4}); });
  fails("the kernel must be positive, not 0",
        [&] { nn::conv1d(x, {.filters = 2, .kernel = 0}); });
  fails("[conv1d] 'conv1d': a size of 2 * 4611686018427387904 is too large", [&] {
    nn::conv1d(x, {.filters = 2, .causal = true, .dilation = std::int64_t{1} << 62});
  });
  fails("axis 2 of x", [&] { nn::conv1d(of_any_width, {.filters = 2}); });
  fails("float", [&] { nn::rms_norm(whole); });
}

TEST_CASE("layers: a causal conv1d sees nothing that comes later, however many steps") {
  Graph graph;
  const Output x = placeholder(graph, float64, {any, any, 3});
  const Output y =
      nn::conv1d(x, {.filters = 2, .activation = tanh, .causal = true, .dilation = 2});
  CHECK(y.shape() == Shape{any, any, 2});
  const Tensor all = noise({2, 9, 3}, 1);
  Tensor begin(float64, {2, 4, 3});
  for (std::int64_t n = 0; n < 2; ++n)
    std::copy_n(all.data<double>() + n * 27, 12, begin.data<double>() + n * 12);
  Session session(graph);
  const Tensor long_y = session.run({{x, all}}, y), short_y = session.run({{x, begin}}, y);
  REQUIRE(long_y.shape() == Shape{2, 9, 2});
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t i = 0; i < 8; ++i)
      CHECK(std::fabs(long_y.data<double>()[n * 18 + i] - short_y.data<double>()[n * 8 + i]) <
            1e-14);
}

TEST_CASE("layers: rms_norm of 16 bits has room for squares") {
  Graph graph;
  for (const DType dtype : {float16, bfloat16}) {
    const Output x = constant(graph, Tensor{{300.f, -400.f}, {1e-3f, 0.f}}.cast(dtype));
    const Tensor y = Session(graph).run({}, nn::rms_norm(x, 0)).cast(float32);
    const double expected[] = {300 / std::sqrt(125000.), -400 / std::sqrt(125000.), std::sqrt(2.),
                               0};
    for (std::size_t i = 0; i < 4; ++i) CHECK(std::fabs(y.span<float>()[i] - expected[i]) < 4e-3);
  }
}

}  // namespace gradgraph::tests

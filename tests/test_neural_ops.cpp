#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"

/// Matrix products, convolution, pooling, biases and losses: what they infer, and what they
/// refuse in which words.
using namespace gradgraph;

namespace {

/// The message of the BuildError that `build` throws.
template <class Build>
std::string build_error(const Build& build) {
  try {
    build();
  } catch (const BuildError& error) {
    return error.what();
  }
  return "no error";
}

bool mentions(const std::string& message, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts)
    if (message.find(part) == std::string::npos) {
      MESSAGE("'" << message << "' lacks '" << part << "'");
      return false;
    }
  return true;
}

std::string line(unsigned number) {
  return "(test_neural_ops.cpp:" + std::to_string(number) + ")";
}

struct Inputs {
  Graph graph;
  Output operator()(const Shape& shape, DType dtype = float32) {
    return placeholder(graph, dtype, shape);
  }
};

}  // namespace

TEST_CASE("matmul: a message names op, node, shapes and line") {
  Graph graph;
  const Output x = placeholder(graph, float32, {64, 784});
  const Output w = placeholder(graph, float32, {128, 10});
  const auto scope = gradgraph::scope(graph, "fc1");
  const std::string message = build_error([&] { matmul(x, w); });
  const unsigned at = __LINE__ - 1;
  CHECK(message ==
        "[matmul] 'fc1/matmul': inner dimensions differ: float32[64,784] x "
        "float32[128,10]  " +
            line(at));
}

TEST_CASE("matmul: shapes") {
  Inputs in;
  CHECK(matmul(in({any, 784}), in({784, 10})).shape() == Shape{any, 10});
  CHECK(matmul(in({any, any}), in({any, any})).shape() == Shape{any, any});
  CHECK(matmul(in({3, 4}), in({3, 5}), {.transpose_a = true}).shape() == Shape{4, 5});
  CHECK(matmul(in({3, 4}), in({any, 4}), {.transpose_b = true}).shape() == Shape{3, any});
  CHECK(matmul(in({2, 1, 3, 4}), in({5, 4, 6})).shape() == Shape{2, 5, 3, 6});
  CHECK(matmul(in({any, 3, 4}), in({5, 4, 6})).shape() == Shape{5, 3, 6});
}

TEST_CASE("matmul: refuses what does not fit") {
  Inputs in;
  CHECK(mentions(build_error([&] {
                   matmul(in({4}), in({4, 2}));
                 }),
                 {"[matmul]", "at least 2 axes", "float32[4]"}));
  CHECK(mentions(build_error([&] {
                   matmul(in({2, 3, 4}), in({3, 4, 2}));
                 }),
                 {"batch dimensions do not broadcast", "[2,3,4]", "[3,4,2]"}));
  CHECK(mentions(build_error([&] {
                   matmul(in({3, 4}), in({4, 2}, float64));
                 }),
                 {"dtypes differ", "float32 and float64"}));
  CHECK(mentions(build_error([&] {
                   matmul(in({3, 4}, boolean), in({4, 2}, boolean));
                 }),
                 {"must be float32 or float64 or int32 or int64"}));
  CHECK(mentions(build_error([&] { matmul(Output(), in({4, 2})); }), {"empty"}));
  CHECK(mentions(build_error([&] {
                   matmul(in({3, 4}), in({4, 2}), {.transpose_b = true});
                 }),
                 {"inner dimensions differ"}));
}

TEST_CASE("matmul: a batch that is found out in a run") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any, any});
  const Output y = matmul(x, constant(graph, Tensor{{1.f}, {2.f}}));
  Session session(graph);
  CHECK(session.run({{x, Tensor{{3.f, 4.f}}}}, y).item<float>() == 11);
  try {
    session.run({{x, Tensor{{1.f, 2.f, 3.f}}}}, y);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(mentions(error.what(), {"inner dimensions differ", "[1,3]", "[2,1]"}));
  }
}

TEST_CASE("conv2d: shapes") {
  Inputs in;
  const Output filter = in({5, 5, 3, 8});
  CHECK(conv2d(in({any, 28, 28, 3}), filter).shape() == Shape{any, 24, 24, 8});
  CHECK(conv2d(in({any, any, any, 3}), filter).shape() == Shape{any, any, any, 8});
  CHECK(conv2d(in({1, any, 9, any}), filter).shape() == Shape{1, any, 5, 8});
  CHECK(conv2d(in({2, 7, 9, 3}), filter, {.strides = {2, 3}, .padding = Padding::same}).shape() ==
        Shape{2, 4, 3, 8});
  CHECK(conv2d(in({2, 3, 7, 9}), filter, {.strides = {2, 3}, .layout = Layout::nchw}).shape() ==
        Shape{2, 8, 2, 2});
  CHECK(conv2d(in({2, 4, 4, 3}), filter,
               {.padding = Padding::explicit_, .border = {.top = 1, .right = 3}})
            .shape() == Shape{2, 1, 3, 8});
  CHECK(conv2d(in({1, 9, 10, 3}), filter, {.dilations = 2}).shape() == Shape{1, 1, 2, 8});
  CHECK(conv2d(in({1, 0, 4, 3}), filter, {.padding = Padding::same}).shape() ==
        Shape{1, 0, 4, 8});

  const Output grad = in({any, 24, 24, 8});
  CHECK(conv2d_input_grad({any, 28, 28, 3}, filter, grad).shape() == Shape{any, 28, 28, 3});
  const Output image = in({any, 28, 28, 3});
  CHECK(conv2d_input_grad(shape_of(image), filter, grad).shape() == Shape{any, 28, 28, 3});
  CHECK(conv2d_filter_grad(image, {5, 5, 3, 8}, grad).shape() == Shape{5, 5, 3, 8});
}

TEST_CASE("conv2d: refuses what does not fit") {
  Inputs in;
  const Output x = in({2, 8, 8, 4}), filter = in({3, 3, 4, 6});
  const auto error = [&](Output image, Output kernel, const Conv2dOptions& options) {
    return build_error([&] { conv2d(image, kernel, options); });
  };
  const std::string message = build_error([&] { conv2d(x, in({3, 3, 3, 6})); });
  const unsigned at = __LINE__ - 1;
  CHECK(mentions(message, {"[conv2d] 'conv2d'", "4 channels in 1 groups", "not 3",
                           "float32[2,8,8,4] x float32[3,3,3,6]", line(at)}));
  CHECK(mentions(error(in({8, 8, 4}), filter, {}), {"an image must have 4 axes", "[8,8,4]"}));
  CHECK(mentions(error(x, in({3, 3, 4}), {}), {"a filter must have 4 axes"}));
  CHECK(mentions(error(x, in({9, 3, 4, 6}), {}), {"window over 9 rows", "image of 8"}));
  CHECK(mentions(error(x, filter, {.dilations = {1, 4}}), {"window over 9 columns"}));
  CHECK(mentions(error(x, filter, {.strides = 0}), {"strides must be at least 1"}));
  CHECK(mentions(error(x, filter, {.dilations = 0}), {"dilations must be at least 1"}));
  CHECK(mentions(error(x, in({0, 3, 4, 6}), {}), {"at least 1 high and wide"}));
  CHECK(mentions(error(x, filter, {.padding = Padding::explicit_, .border = {.left = -1}}),
                 {"border must not be negative"}));
  CHECK(mentions(error(x, filter, {.border = Border::all(1)}),
                 {"[conv2d]: a border needs Padding::explicit_; padding is valid"}));
  CHECK(mentions(error(x, filter, {.groups = 0}), {"groups must be at least 1"}));
  CHECK(mentions(error(x, filter, {.groups = 3}), {"4 channels do not divide into 3 groups"}));
  CHECK(mentions(error(in({2, 8, 8, 5}), in({3, 3, 1, 6}), {.groups = 5}),
                 {"6 filters do not divide into 5 groups"}));
  CHECK(mentions(error(x, in({3, 3, 4, 6}, float64), {}), {"dtypes differ"}));
  CHECK(mentions(error(in({2, 8, 8, 4}, int32), in({3, 3, 4, 6}, int32), {}),
                 {"must be of a floating dtype, not int32"}));
  CHECK(mentions(build_error([&] {
                   conv2d_input_grad({2, 8, 8, 4}, filter, in({2, 5, 6, 6}));
                 }),
                 {"[conv2d_input_grad]", "the gradient's shape must be [2,6,6,6]", "[2,5,6,6]"}));
  CHECK(mentions(build_error([&] {
                   conv2d_input_grad({8, 8, 4}, filter, x);
                 }),
                 {"an image must have 4 axes"}));
  CHECK(mentions(build_error([&] {
                   conv2d_filter_grad(x, {3, 3, 4, 6}, in({2, 6, 6, 5}));
                 }),
                 {"[conv2d_filter_grad]", "the gradient's shape must be [2,6,6,6]"}));
}

TEST_CASE("pooling: shapes") {
  Inputs in;
  const Output x = in({any, 7, 9, 3});
  CHECK(max_pool2d(x).shape() == Shape{any, 3, 4, 3});
  CHECK(avg_pool2d(x, {.padding = Padding::same}).shape() == Shape{any, 4, 5, 3});
  CHECK(max_pool2d(in({2, 3, any, 9}), {.window = 3, .strides = 1, .layout = Layout::nchw})
            .shape() == Shape{2, 3, any, 7});
  CHECK(max_pool2d_grad(x, in({any, 3, 4, 3})).shape() == Shape{any, 7, 9, 3});
  CHECK(max_pool2d_pick(x, x).shape() == Shape{any, 3, 4, 3});
  CHECK(avg_pool2d_grad({any, 7, 9, 3}, in({5, 3, 4, 3})).shape() == Shape{5, 7, 9, 3});
}

TEST_CASE("pooling: refuses what does not fit") {
  Inputs in;
  const Output x = in({2, 4, 4, 3});
  const auto error = [&](Output image, const Pool2dOptions& options) {
    return build_error([&] { max_pool2d(image, options); });
  };
  const std::string message = error(x, {.window = 5});
  CHECK(mentions(message, {"[max_pool2d] 'max_pool2d'", "window over 5 rows", "image of 4",
                           "float32[2,4,4,3]", "(test_neural_ops.cpp:"}));
  CHECK(mentions(error(in({4, 4, 3}), {}), {"an image must have 4 axes"}));
  CHECK(mentions(error(x, {.window = 0}), {"at least 1 high and wide"}));
  CHECK(mentions(error(x, {.strides = {1, 0}}), {"strides must be at least 1"}));
  CHECK(mentions(error(x, {.padding = Padding::same, .border = {.top = 1}}),
                 {"a border needs Padding::explicit_; padding is same"}));
  CHECK(mentions(error(x, {.padding = Padding::explicit_, .border = {.top = 2}}),
                 {"nothing but padding"}));
  CHECK(mentions(error(in({2, 4, 4, 3}, int32), {}), {"must be of a floating dtype"}));
  CHECK(mentions(build_error([&] {
                   max_pool2d_grad(x, in({2, 2, 3, 3}));
                 }),
                 {"the gradient's shape must be [2,2,2,3]"}));
  CHECK(mentions(build_error([&] {
                   max_pool2d_pick(x, in({2, 4, 3, 3}));
                 }),
                 {"values' shape is not the image's"}));
  CHECK(mentions(build_error([&] {
                   avg_pool2d_grad({2, 4, 4, 3}, in({2, 1, 2, 3}));
                 }),
                 {"the gradient's shape must be [2,2,2,3]"}));
}

TEST_CASE("bias_add and losses: shapes and errors") {
  Inputs in;
  CHECK(bias_add(in({any, any}), in({3})).shape() == Shape{any, 3});
  CHECK(bias_add(in({2, 3, 4, 5}), in({3}), Layout::nchw).shape() == Shape{2, 3, 4, 5});
  CHECK(mentions(build_error([&] {
                   bias_add(in({2, 4}), in({3}));
                 }),
                 {"[bias_add]", "4 channels need as many biases, not 3"}));
  CHECK(mentions(build_error([&] { bias_add(in({3}), in({3}), Layout::nchw); }),
                 {"no channel axis"}));
  CHECK(mentions(build_error([&] { bias_add(in({2, 3}), in({1, 3})); }), {"must have 1 axes"}));
  CHECK(mentions(build_error([&] {
                   softmax(in({2, 3}), 2);
                 }),
                 {"[softmax]", "axis 2 is outside [-2,2)"}));
  CHECK(mentions(build_error([&] {
                   log_softmax(in({2, 3}, int64));
                 }),
                 {"[log_softmax]", "must be of a floating dtype"}));
  CHECK(mentions(build_error([&] { softmax(in({})); }), {"axis -1 is outside"}));

  CHECK(softmax_cross_entropy(in({any, 10}), in({32, any})).shape() == Shape{32});
  CHECK(mentions(build_error([&] {
                   softmax_cross_entropy(in({2, 3}), in({2, 4}));
                 }),
                 {"logits and labels differ in shape", "[2,3]", "[2,4]"}));
  CHECK(sparse_softmax_cross_entropy(in({any, 10}), in({any}, int64)).shape() == Shape{any});
  CHECK(sparse_softmax_cross_entropy(in({any, 10}), in({32}, int32)).shape() == Shape{32});
  CHECK(mentions(build_error([&] {
                   sparse_softmax_cross_entropy(in({2, 3}), in({2, 1}, int64));
                 }),
                 {"labels must have the shape of the logits' rows, [2]"}));
  CHECK(mentions(build_error([&] {
                   sparse_softmax_cross_entropy(in({2, 3}), in({2}));
                 }),
                 {"input 1 must be int32 or int64, not float32"}));
  CHECK(mentions(build_error([&] { sparse_softmax_cross_entropy(in({}), in({}, int64)); }),
                 {"logits need a class axis"}));
}

TEST_CASE("sparse_softmax_cross_entropy: a label out of range is named with its row") {
  Graph graph;
  const Output logits = placeholder(graph, float32, {any, 10});
  const Output labels = placeholder(graph, int64, {any});
  const Output loss = sparse_softmax_cross_entropy(logits, labels);
  const unsigned at = __LINE__ - 1;
  Session session(graph);
  const Tensor x = Tensor::zeros(float32, {3, 10});
  for (const std::int64_t bad :
       {std::int64_t{10}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()})
    try {
      session.run({{logits, x}, {labels, Tensor{std::int64_t{9}, bad, bad}}}, loss);
      FAIL("no error");
    } catch (const RunError& error) {
      CHECK(mentions(error.what(), {"[sparse_softmax_cross_entropy]",
                                    "index " + std::to_string(bad) + " (number 1)",
                                    "outside [0,10)", line(at)}));
    }
  const Tensor good = session.run(
      {{logits, x}, {labels, Tensor{std::int64_t{0}, std::int64_t{9}, std::int64_t{5}}}}, loss);
  CHECK(good.at<float>({1}) == doctest::Approx(std::log(10.f)));
}

TEST_CASE("sparse_softmax_cross_entropy: how many classes there are is known in a run only") {
  Graph graph;
  const Output logits = placeholder(graph, float64, {any, any}), known = reshape(logits, {-1, 4});
  const Output labels = placeholder(graph, int32, {any});
  const auto grad = [&](const Output& of) {
    const Output loss = sum(square(sparse_softmax_cross_entropy(of, labels)));
    const Output first = gradients({loss}, {logits})[0];
    return std::vector{first, gradients({sum(square(first))}, {logits})[0]};
  };
  const std::vector<Output> by_run = grad(logits), by_shape = grad(known);
  Session session(graph);
  const Tensor x = tests::noise({3, 4}, 1), y = Tensor{0, 3, 1};
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(tests::close(session.run({{logits, x}, {labels, y}}, by_run[i]),
                       session.run({{logits, x}, {labels, y}}, by_shape[i]), 1e-12));
  CHECK_THROWS_WITH_AS(session.run({{logits, x}, {labels, Tensor{0, 4, 1}}}, by_run[0]),
                       doctest::Contains("outside [0,4)"), RunError);
}

TEST_CASE("sigmoid_cross_entropy: a label for each logit, or one for all") {
  Graph graph;
  const Output logits = placeholder(graph, float32, {any, 1});
  for (const Output& labels :
       {placeholder(graph, float32, {any}), placeholder(graph, float32, {any, 3})})
    CHECK_THROWS_WITH_AS(
        sigmoid_cross_entropy(logits, labels),
        doctest::Contains("'sigmoid_cross_entropy': they differ in shape: logits are"),
        BuildError);
  CHECK_THROWS_WITH_AS(sigmoid_cross_entropy(logits, placeholder(graph, boolean, {any, 1})),
                       doctest::Contains("one floating dtype (gg::cast): logits are"),
                       BuildError);
  const Output one = constant(graph, Tensor(1.F));
  const Output each = constant(graph, Tensor::full(float32, {2, 1}, 1.F));
  Session session(graph);
  const Tensor x = Tensor{0.5F, -2.F}.reshaped({2, 1});
  CHECK(tests::same_bits(session.run({{logits, x}}, sigmoid_cross_entropy(logits, one)),
                         session.run({{logits, x}}, sigmoid_cross_entropy(logits, each))));
}

TEST_CASE("errors of predictions: a target for each, or one for all") {
  Graph graph;
  const Output predicted = placeholder(graph, float32, {any, 1});
  CHECK_THROWS_WITH_AS(
      squared_error(predicted, placeholder(graph, float32, {any})),
      doctest::Contains("'squared_error': they differ in shape: predictions are"), BuildError);
  CHECK_THROWS_WITH_AS(absolute_error(predicted, Tensor{1.F, 2.F}),
                       doctest::Contains("predictions are float32[?,1], targets float32[2]"),
                       BuildError);
  CHECK_THROWS_WITH_AS(huber_loss(predicted, placeholder(graph, float64, {any, 1})),
                       doctest::Contains("one floating dtype (gg::cast)"), BuildError);
  CHECK_THROWS_WITH_AS(cosine_similarity(predicted, placeholder(graph, float32, {3})),
                       doctest::Contains("axis -1 is not one that [?,1] and [3] both have"),
                       BuildError);
  CHECK_THROWS_WITH_AS(cosine_similarity(predicted, cast(predicted, float16)),
                       doctest::Contains("float32 and float16 differ"), BuildError);
  CHECK_THROWS_WITH_AS(l2_normalize(predicted, -1, 1e-60),
                       doctest::Contains("an epsilon of 1e-60 is no number above 0"), BuildError);
  CHECK_THROWS_WITH_AS(cosine_similarity(predicted, predicted, 2),
                       doctest::Contains("axis 2 is not one that"), BuildError);
  CHECK_THROWS_WITH_AS(norm(cast(predicted, int32)),
                       doctest::Contains("'norm': needs a floating dtype, not int32"),
                       BuildError);
  CHECK_THROWS_WITH_AS(l2_normalize(predicted, -1, 0),
                       doctest::Contains("an epsilon of 0 is no number above 0"), BuildError);
  CHECK_THROWS_WITH_AS(huber_loss(predicted, 1, 0),
                       doctest::Contains("'huber_loss': delta is 0, not above 0"), BuildError);
  Session session(graph);
  const Tensor x = Tensor{0.5F, -2.F}.reshaped({2, 1});
  CHECK(tests::same_bits(session.run({{predicted, x}}, squared_error(predicted, 1)),
                         Tensor{0.25F, 9.F}.reshaped({2, 1})));
}

TEST_CASE("sparse_softmax_cross_entropy: the gradient with an unknown batch") {
  Graph graph;
  const Output logits = placeholder(graph, float64, {any, 2});
  const Output labels = placeholder(graph, int32, {any});
  const Output grad = gradients({sum(sparse_softmax_cross_entropy(logits, labels))}, {logits})[0];
  const Tensor result =
      Session(graph).run({{logits, Tensor{{0., 0.}, {0., 0.}}}, {labels, Tensor{0, 1}}}, grad);
  CHECK(result.to_string() == Tensor{{-.5, .5}, {.5, -.5}}.to_string());
}

TEST_CASE("relu6: nothing flows where it does not rise, as of relu") {
  Graph graph;
  const Output x = constant(graph, Tensor{-1.f, -0.f, 0.f, 1e-30f, 3.f, 6.5f});
  const Tensor grad = Session(graph).run(gradients({sum(relu6(x))}, {x})[0]);
  const std::vector<float> found(grad.span<float>().begin(), grad.span<float>().end());
  CHECK(found == std::vector<float>{0, 0, 0, 1, 1, 0});
}

#include "row_helpers.h"

/// Losses with ignored rows and smoothed labels, and that of sigmoids. Values are NumPy's, edge
/// cases from reports to other frameworks.
namespace gradgraph::tests {
namespace {

const Tensor kLogits = {{1.f, 2.f, 4.f}, {0.5f, -1.f, 3.f}};

Build ignoring(std::int64_t label) {
  return [label](In in) {
    const Output loss =
        sparse_softmax_cross_entropy(in[0], in[1], SparseLossOptions{.ignored_label = label});
    return Out{loss};
  };
}

}  // namespace

void add_loss_rows(std::vector<OpRow>& rows) {
  const std::size_t first = rows.size();
  rows.push_back(row("sparse_softmax_cross_entropy/smoothed", {kLogits, longs({2, 0})},
                     [](In in) {
                       return Out{sparse_softmax_cross_entropy(
                           in[0], in[1], SparseLossOptions{.label_smoothing = 0.1})};
                     },
                     {Tensor{0.33651269f, 2.5623410f}}));
  rows.push_back(row("softmax_cross_entropy/smoothed",
                     {kLogits, Tensor{{0.f, 0.f, 1.f}, {0.25f, 0.75f, 0.f}}},
                     [](In in) { return Out{softmax_cross_entropy(in[0], in[1], 0.1)}; },
                     {Tensor{0.33651269f, 3.5748410f}}));
  rows.push_back(row("sparse_softmax_cross_entropy/ignored", {kLogits, longs({2, -1})},
                     ignoring(-1), {Tensor{0.16984602f, 0.f}}));
  // Neither a class of its own nor a NaN comes of an ignored row.
  rows.push_back(
      values("sparse_softmax_cross_entropy/ignored_infinity",
             {Tensor{{0.f, 0.f}, {-kInf, -kInf}, {kNan, 1.f}}, ints({1, 255, 255})},
             with_gradient(ignoring(255)),
             {Tensor{0.69314718f, 0.f, 0.f}, Tensor{{0.5f, -0.5f}, {0.f, 0.f}, {0.f, 0.f}}}));
  rows.push_back(values("sparse_softmax_cross_entropy/all_ignored", {kLogits, longs({7, 7})},
                        [](In in) {
                          const Output loss = ignoring(7)(in)[0];
                          const Output n = sum(cast(not_equal(in[1], 7), loss.dtype()));
                          const Output mean = sum(loss) / maximum(n, 1);
                          return Out{mean, gradients({mean}, {in[0]})[0]};
                        },
                        {Tensor(0.f), Tensor{{0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}}));
  // The gradient by class numbers needs to know how many classes there are.
  for (std::size_t i = first; i < rows.size(); ++i) rows[i].unknown_dims = false;
  const auto sigmoids = [](In in) { return Out{sigmoid_cross_entropy(in[0], in[1])}; };
  rows.push_back(row("sigmoid_cross_entropy/plain",
                     {Tensor{{0.f, -1.f, 3.f, 40.f, -40.f}}, Tensor{{0.f, 1.f, 0.25f, 0.f, 1.f}}},
                     sigmoids, {Tensor{{0.69314718f, 1.3132617f, 2.2985874f, 40.f, 40.f}}}));
  rows.push_back(values(
      "sigmoid_cross_entropy/gradient_at_0_and_high",
      {Tensor{0.f, 0.f, 500.f, -500.f, 500.f}, Tensor{0.f, 1.f, 1.f, 0.f, 0.f}},
      with_gradient(sigmoids),
      {Tensor{0.69314718f, 0.69314718f, 0.f, 0.f, 500.f}, Tensor{0.5f, -0.5f, 0.f, 0.f, 1.f}}));
  const Values guesses = {Tensor{{1.f, -2.f, 0.25f}}, Tensor{{0.5f, 1.f, 0.f}}};
  rows.push_back(row("squared_error/plain", guesses,
                     [](In in) { return Out{squared_error(in[0], in[1])}; },
                     {Tensor{{0.25f, 9.f, 0.0625f}}}));
  rows.push_back(row("absolute_error/plain", guesses,
                     [](In in) { return Out{absolute_error(in[0], in[1])}; },
                     {Tensor{{0.5f, 3.f, 0.25f}}}));
  rows.push_back(row("huber_loss/plain", guesses,
                     [](In in) {
                       return Out{huber_loss(in[0], in[1], 0.4), huber_loss(in[0], 1.5)};
                     },
                     {Tensor{{0.12f, 1.12f, 0.03125f}}, Tensor{{0.125f, 3.f, 0.75f}}}));
  rows.push_back(values("huber_loss/second_derivative", {Tensor{-3.f, -0.5f, 0.f, 0.5f}},
                        [](In in) {
                          const Output slope =
                              gradients({sum(huber_loss(in[0], 0, 1))}, {in[0]})[0];
                          return Out{slope, gradients({sum(slope)}, {in[0]})[0]};
                        },
                        {Tensor{-1.f, -0.5f, 0.f, 0.5f}, Tensor{0.f, 1.f, 1.f, 1.f}}));
  rows.push_back(values("huber_loss/gradient_at_delta",
                        {Tensor{2.f, 0.f, kNan, kInf}, Tensor{0.f, 0.f, 0.f, 0.f}},
                        with_gradient([](In in) { return Out{huber_loss(in[0], in[1], 2)}; }),
                        {Tensor{2.f, 0.f, kNan, kInf}, Tensor{2.f, 0.f, kNan, 2.f}}));
  // However small the loss: log1p(exp(-30)).
  rows.push_back(
      float32_values("sigmoid_cross_entropy/small", {Tensor{30.f}, Tensor{1.f}},
                     [](In in) { return Out{sigmoid_cross_entropy(in[0], in[1]) * 1e13}; },
                     {Tensor{0.93576229f}}));
}

}  // namespace gradgraph::tests

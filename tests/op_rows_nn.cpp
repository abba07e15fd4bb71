#include <cmath>
#include <limits>

#include "golden_rows.h"
#include "row_helpers.h"

namespace gradgraph::tests {
namespace {

using Outputs = std::vector<Output>;

Pool2dOptions pool_options(const GoldenOptions& o) {
  return {.window = o.pair("window", 2),
          .strides = o.pair("strides", 2),
          .padding = o.padding(),
          .border = o.border(),
          .layout = o.layout()};
}

void add_pooling_rows(std::vector<OpRow>& rows) {
  add_golden_rows(rows, "max_pool2d", [](const Outputs& in, const GoldenOptions& o) {
    return max_pool2d(in[0], pool_options(o));
  });
  // The place of the maximum is a step function of x.
  const auto by_values = [](OpRow& row) { row.differentiable = {1}; };
  add_golden_rows(
      rows, "max_pool2d_grad",
      [](const Outputs& in, const GoldenOptions& o) {
        return max_pool2d_grad(in[0], in[1], pool_options(o));
      },
      by_values);
  add_golden_rows(
      rows, "max_pool2d_pick",
      [](const Outputs& in, const GoldenOptions& o) {
        return max_pool2d_pick(in[0], in[1], pool_options(o));
      },
      by_values);
  add_golden_rows(rows, "avg_pool2d", [](const Outputs& in, const GoldenOptions& o) {
    return avg_pool2d(in[0], pool_options(o));
  });
  add_golden_rows(rows, "avg_pool2d_grad", [](const Outputs& in, const GoldenOptions& o) {
    return avg_pool2d_grad(o.list("shape"), in[0], pool_options(o));
  });

  const Shape line = {1, 1, 6, 1}, half = {1, 1, 3, 1};
  const Pool2dOptions pairs = {.window = {1, 2}, .strides = {1, 2}};
  rows.push_back(
      {.name = "max_pool2d/ties_nan_infinity",
       .inputs = {Tensor{3.f, 3.f, kNan, 1.f, -kInf, -kInf}.reshaped(line)},
       .build = [=](const Outputs& in) -> Outputs { return {max_pool2d(in[0], pairs)}; },
       .expected = {Tensor{3.f, kNan, -kInf}.reshaped(half)},
       .gradient = false});
  rows.push_back({.name = "max_pool2d_grad/ties_nan_infinity",
                  .inputs = {Tensor{3.f, 3.f, 1.f, kNan, -kInf, -kInf}.reshaped(line),
                             Tensor{1.f, 2.f, 3.f}.reshaped(half)},
                  .build = [=](const Outputs& in) -> Outputs {
                    return {max_pool2d_grad(in[0], in[1], pairs)};
                  },
                  .expected = {Tensor{1.f, 0.f, 0.f, 2.f, 3.f, 0.f}.reshaped(line)},
                  .gradient = false});
  rows.push_back({.name = "max_pool2d_pick/ties_nan_infinity",
                  .inputs = {Tensor{3.f, 3.f, kNan, kNan, -kInf, -kInf}.reshaped(line),
                             Tensor{1.f, 2.f, 3.f, 4.f, 5.f, 6.f}.reshaped(line)},
                  .build = [=](const Outputs& in) -> Outputs {
                    return {max_pool2d_pick(in[0], in[1], pairs)};
                  },
                  .expected = {Tensor{1.f, 3.f, 5.f}.reshaped(half)},
                  .gradient = false});
  // Padding neither wins over negative numbers nor counts in a mean.
  const Pool2dOptions same = {.window = 2, .strides = 2, .padding = Padding::same};
  rows.push_back({.name = "max_pool2d/padding_never_wins",
                  .inputs = {Tensor{-1.f, -2.f, -3.f}.reshaped({1, 1, 3, 1})},
                  .build = [=](const Outputs& in) -> Outputs {
                    return {max_pool2d(in[0], same), avg_pool2d(in[0], same)};
                  },
                  .expected = {Tensor{-1.f, -3.f}.reshaped({1, 1, 2, 1}),
                               Tensor{-1.5f, -3.f}.reshaped({1, 1, 2, 1})}});
}

void add_softmax_rows(std::vector<OpRow>& rows) {
  add_golden_rows(rows, "bias_add", [](const Outputs& in, const GoldenOptions& o) {
    return bias_add(in[0], in[1], o.layout());
  });
  rows.push_back({.name = "bias_add/integers",
                  .inputs = {Tensor{{1, 2}, {3, 4}}, Tensor{10, 20}},
                  .build = [](const Outputs& in) -> Outputs { return {bias_add(in[0], in[1])}; },
                  .expected = {Tensor{{11, 22}, {13, 24}}},
                  .gradient = false});

  const auto with_axis = [](Output (*op)(Output, std::int64_t, SourceLocation)) {
    return [op](const Outputs& in, const GoldenOptions& o) {
      return op(in[0], o.number("axis", -1), SourceLocation::current());
    };
  };
  add_golden_rows(rows, "softmax", with_axis(softmax));
  add_golden_rows(rows, "log_softmax", with_axis(log_softmax));
  add_golden_rows(rows, "softmax_cross_entropy", [](const Outputs& in, const GoldenOptions&) {
    return softmax_cross_entropy(in[0], in[1]);
  });
  add_golden_rows(
      rows, "sparse_softmax_cross_entropy",
      [](const Outputs& in, const GoldenOptions&) {
        return sparse_softmax_cross_entropy(in[0], in[1]);
      },
      // Its gradient needs the number of classes.
      [](OpRow& row) { row.unknown_dims = false; });

  const Tensor huge{{1e30f, 1e30f}, {3e38f, -3e38f}, {-3e38f, -3e38f}};
  rows.push_back({.name = "softmax/huge",
                  .inputs = {huge},
                  .build = [](const Outputs& in) -> Outputs {
                    return {softmax(in[0]), log_softmax(in[0])};
                  },
                  .expected = {Tensor{{.5f, .5f}, {1.f, 0.f}, {.5f, .5f}},
                               Tensor{{-std::log(2.f), -std::log(2.f)},
                                      {0.f, -kInf},
                                      {-std::log(2.f), -std::log(2.f)}}},
                  .gradient = false,
                  .also = {}});
  rows.push_back(
      {.name = "softmax/minus_infinity_excludes",
       .inputs = {Tensor{{-kInf, 1.f, 1.f}, {-kInf, -kInf, 0.f}}},
       .build = [](const Outputs& in) -> Outputs {
         return {softmax(in[0]), log_softmax(in[0])};
       },
       .expected = {Tensor{{0.f, .5f, .5f}, {0.f, 0.f, 1.f}},
                    Tensor{{-kInf, -std::log(2.f), -std::log(2.f)}, {-kInf, -kInf, 0.f}}},
       .gradient = false});
  rows.push_back(
      {.name = "softmax/infinity_and_nan",
       .inputs = {Tensor{{kInf, 1.f}, {-kInf, -kInf}, {kNan, 1.f}}},
       .build = [](const Outputs& in) -> Outputs {
         return {softmax(in[0]), log_softmax(in[0])};
       },
       .expected = {Tensor::full(float32, {3, 2}, kNan), Tensor::full(float32, {3, 2}, kNan)},
       .gradient = false});
  rows.push_back({.name = "softmax_cross_entropy/excluded_class",
                  .inputs = {Tensor{{-kInf, 1.f, 1.f}}, Tensor{{0.f, 1.f, 0.f}}},
                  .build = [](const Outputs& in) -> Outputs {
                    const Output loss = softmax_cross_entropy(in[0], in[1]);
                    return {loss, gradients({loss}, {in[0]})[0]};
                  },
                  .expected = {Tensor{std::log(2.f)}, Tensor{{0.f, -.5f, .5f}}},
                  .gradient = false});
  rows.push_back({.name = "sparse_softmax_cross_entropy/excluded_class",
                  .inputs = {Tensor{{-kInf, 1.f, 1.f}, {-kInf, 0.f, 0.f}}, Tensor{1, 0}},
                  .build = [](const Outputs& in) -> Outputs {
                    return {sparse_softmax_cross_entropy(in[0], in[1])};
                  },
                  .expected = {Tensor{std::log(2.f), kInf}},
                  .gradient = false});
}

void add_standardize_rows(std::vector<OpRow>& rows) {
  const Tensor x{{1.f, 2.f, 4.f}, {-3.f, 0.5f, 1.f}};
  const auto build = [](In in) { return Out{standardize(in[0])}; };
  rows.push_back(row(
      "standardize/plain", {x}, build,
      {Tensor{{-1.0690415f, -0.26726038f, 1.3363019f}, {-1.4048765f, 0.5619506f, 0.8429259f}}}));
  rows.push_back(row("standardize_grad/plain", {x, Tensor{{1.f, -1.f, 0.5f}, {0.f, 2.f, 1.f}}},
                     [](In in) { return Out{standardize_grad(in[0], in[1])}; },
                     {Tensor{{0.62997115f, -0.9449563f, 0.31498514f},
                             {-0.044366156f, 0.35491682f, -0.31055067f}}}));
  rows.push_back(
      values("standardize/empty", {Tensor(float32, {2, 0})}, build, {Tensor(float32, {2, 0})}));
  // Of one element, and of equal ones, nothing is left.
  rows.push_back(values("standardize/equal", {Tensor{{0.1f, 0.1f, 0.1f}}}, build,
                        {Tensor{{0.f, 0.f, 0.f}}}));
  rows.push_back(values("standardize/one", {Tensor{{7.f}}}, build, {Tensor{{0.f}}}));
  rows.push_back(values("standardize/infinity_and_nan", {Tensor{{kInf, 1.f}, {1.f, kNan}}}, build,
                        {Tensor::full(float32, {2, 2}, kNan)}));
  // Whose squares are above the largest float, or below the least.
  rows.push_back(float32_values(
      "standardize/huge_and_tiny", {Tensor{{-1e30f, 1e30f}, {-1e-25f, 1e-25f}}},
      [](In in) { return Out{standardize(in[0], 0)}; }, {Tensor{{-1.f, 1.f}, {-1.f, 1.f}}}));
}

}  // namespace

void add_nn_rows(std::vector<OpRow>& rows) {
  add_pooling_rows(rows);
  add_softmax_rows(rows);
  add_standardize_rows(rows);
}

}  // namespace gradgraph::tests

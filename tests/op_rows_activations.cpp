#include <fmt/format.h>

#include "row_helpers.h"

/// Activations, rounding and ops of three operands. Expected values are PyTorch's.
namespace gradgraph::tests {
namespace {

const Tensor kAny{{-2.0f, -0.5f, 0.125f}, {0.75f, 1.5f, 3.0f}};
const Tensor kFractions{{-2.5f, -0.5f, 0.125f}, {0.75f, 1.5f, 3.25f}};
const Tensor kSpecial{kNan, kInf, -kInf, 3.0e+38f, -3.0e+38f, 0.0f, -0.0f, 1.0e-38f};

void add_activations(Rows& rows) {
  const Build leaky = [](In x) { return Out{leaky_relu(x[0], 0.3)}; };
  rows.push_back(row("leaky_relu/plain", {kAny}, leaky,
                     {Tensor{{-0.6f, -0.15f, 0.125f}, {0.75f, 1.5f, 3.0f}}}));
  rows.push_back(row("leaky_relu/0-d", {Tensor(-2.0f)}, leaky, {Tensor(-0.6f)}));
  rows.push_back(
      row("leaky_relu/empty", {Tensor(float32, {2, 0})}, leaky, {Tensor(float32, {2, 0})}));
  rows.push_back(values("leaky_relu/special", {kSpecial}, leaky,
                        {Tensor{kNan, kInf, -kInf, 3.0e+38f, -9.0e+37f, 0.0f, -0.0f, 1.0e-38f}}));
  // A negative slope turns the order of operands around.
  rows.push_back(row("leaky_relu/negative slope", {kAny},
                     [](In x) { return Out{leaky_relu(x[0], -2)}; },
                     {Tensor{{4.0f, 1.0f, 0.125f}, {0.75f, 1.5f, 3.0f}}}));
  rows.push_back(row("leaky_relu/two slopes in one program", {kAny},
                     [](In x) { return Out{leaky_relu(leaky_relu(x[0], 0.5) - 1.0, 0.25)}; },
                     {Tensor{{-0.5f, -0.3125f, -0.21875f}, {-0.0625f, 0.5f, 2.0f}}}));

  const Build six = [](In x) { return Out{relu6(x[0])}; };
  rows.push_back(row("relu6/plain", {Tensor{{-1.f, 0.5f, 5.75f}, {6.25f, 100.f, 3.f}}}, six,
                     {Tensor{{0.f, 0.5f, 5.75f}, {6.f, 6.f, 3.f}}}));
  rows.push_back(row("relu6/0-d", {Tensor(7.f)}, six, {Tensor(6.f)}));
  rows.push_back(row("relu6/empty", {Tensor(float32, {0, 3})}, six, {Tensor(float32, {0, 3})}));
  rows.push_back(values("relu6/int32", {Tensor{-3, 0, 4, 6, 9}}, six, {Tensor{0, 0, 4, 6, 6}}));
  rows.push_back(values("relu6/special", {kSpecial}, six,
                        {Tensor{kNan, 6.f, 0.f, 6.f, 0.f, 0.f, -0.f, 1.0e-38f}}));

  const Build elu_of_2 = [](In x) { return Out{elu(x[0], 2)}; };
  rows.push_back(row("elu/plain", {kAny}, elu_of_2,
                     {Tensor{{-1.7293294f, -0.78693868f, 0.125f}, {0.75f, 1.5f, 3.0f}}}));
  rows.push_back(row("elu/0-d", {Tensor(-2.0f)}, elu_of_2, {Tensor(-1.7293294f)}));
  rows.push_back(row("elu/empty", {Tensor(float32, {0})}, elu_of_2, {Tensor(float32, {0})}));
  rows.push_back(values("elu/special", {kSpecial}, elu_of_2,
                        {Tensor{kNan, kInf, -2.0f, 3.0e+38f, -2.0f, 0.0f, -0.0f, 1.0e-38f}}));
  // As near to the kink as differences would be.
  rows.push_back(values("elu/small", {Tensor{-1.0e-6f, -1.0e-3f}}, elu_of_2,
                        {Tensor{-1.999999e-6f, -1.9990003e-3f}}));

  rows.push_back(row(
      "softplus/plain", {kAny}, of(softplus),
      {Tensor{{0.12692801f, 0.47407698f, 0.75759904f}, {1.136871f, 1.7014133f, 3.0485874f}}}));
  rows.push_back(row("softplus/0-d", {Tensor(-2.0f)}, of(softplus), {Tensor(0.12692801f)}));
  rows.push_back(
      row("softplus/empty", {Tensor(float32, {0, 3})}, of(softplus), {Tensor(float32, {0, 3})}));
  rows.push_back(
      values("softplus/special", {kSpecial}, of(softplus),
             {Tensor{kNan, kInf, 0.0f, 3.0e+38f, 0.0f, 0.6931472f, 0.6931472f, 0.6931472f}}));
  rows.push_back(row("softplus/far below", {Tensor{-20.0f, -60.0f}}, of(softplus),
                     {Tensor{2.0611537e-9f, 8.756511e-27f}}));

  rows.push_back(row("silu/plain", {kAny}, of(silu),
                     {Tensor{{-0.23840584f, -0.18877033f, 0.066401172f},
                             {0.50938402f, 1.2263617f, 2.8577224f}}}));
  rows.push_back(row("gelu/plain", {kAny}, [](In x) { return Out{gelu(x[0])}; },
                     {Tensor{{-0.045500264f, -0.15426877f, 0.068717278f},
                             {0.58002949f, 1.3997892f, 2.9959503f}}}));
  rows.push_back(row("gelu/approximate", {kAny}, [](In x) { return Out{gelu(x[0], true)}; },
                     {Tensor{{-0.045402306f, -0.15428599f, 0.068717199f},
                             {0.57996056f, 1.3995716f, 2.9963626f}}}));
  // Whose squares, and cubes, float16 has no room for.
  for (const bool approximate : {false, true})
    rows.push_back(
        values(fmt::format("gelu/gradient_far_out_{}", approximate),
               {Tensor{-30000.f, -300.f, 300.f, 30000.f}},
               with_gradient([approximate](In x) { return Out{gelu(x[0], approximate)}; }),
               {Tensor{-0.f, -0.f, 300.f, 30000.f}, Tensor{0.f, 0.f, 1.f, 1.f}}));
}

void add_rounding(Rows& rows) {
  rows.push_back(row("floor/plain", {kFractions}, of(floor),
                     {Tensor{{-3.0f, -1.0f, 0.0f}, {0.0f, 1.0f, 3.0f}}}));
  rows.push_back(row("ceil/plain", {kFractions}, of(ceil),
                     {Tensor{{-2.0f, -0.0f, 1.0f}, {1.0f, 2.0f, 4.0f}}}));
  const Tensor halves{-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f, 0.49999997f, 8388609.0f, -0.2f};
  rows.push_back(
      float32_values("round/halves", {halves}, of(round),
                     {Tensor{-2.0f, -2.0f, -0.0f, 0.0f, 2.0f, 2.0f, 0.0f, 8388609.0f, -0.0f}}));
  rows.push_back(float32_values("round/float64",
                                {Tensor{4503599627370497.0, -4503599627370495.5, 0.5}}, of(round),
                                {Tensor{4503599627370497.0, -4503599627370496.0, 0.0}}));
  const Tensor large{kNan, kInf, -kInf, 3.0e+38f, -3.0e+38f, 0.0f, -0.0f};
  using Op = std::pair<std::string, Output (*)(Output, Where)>;
  for (const auto& [name, op] : {Op{"floor", floor}, {"ceil", ceil}, {"round", round}}) {
    rows.push_back(values(name + "/special", {large}, of(op), {large}));
    rows.push_back(
        row(name + "/0-d", {Tensor(7.25f)}, of(op), {Tensor(op == ceil ? 8.0f : 7.0f)}));
    rows.push_back(row(name + "/empty", {Tensor(float32, {0})}, of(op), {Tensor(float32, {0})}));
  }
  rows.push_back(values("is_nan/special", {kSpecial}, of(is_nan),
                        {Tensor{true, false, false, false, false, false, false, false}}));
  rows.push_back(values("is_nan/0-d", {Tensor(kNan)}, of(is_nan), {Tensor(true)}));
  rows.push_back(
      values("is_nan/empty", {Tensor(float32, {0, 2})}, of(is_nan), {Tensor(boolean, {0, 2})}));
}

void add_ternary(Rows& rows) {
  const Build clip_all = [](In x) { return Out{clip(x[0], x[1], x[2])}; };
  const Tensor low{-1.0f, -0.75f, 0.5f}, high{{1.0f}, {2.0f}};
  rows.push_back(row("clip/broadcast", {kAny, low, high}, clip_all,
                     {Tensor{{-1.0f, -0.5f, 0.5f}, {0.75f, 1.5f, 2.0f}}}));
  rows.push_back(row("clip/numbers", {kAny}, [](In x) { return Out{clip(x[0], -0.75, 1.25)}; },
                     {Tensor{{-0.75f, -0.5f, 0.125f}, {0.75f, 1.25f, 1.25f}}}));
  rows.push_back(row("clip/fixed x", {Tensor(0.25f), low, Tensor{{1.0f}, {0.0f}}}, clip_all,
                     {Tensor{{0.25f, 0.25f, 0.5f}, {0.0f, 0.0f, 0.0f}}}));
  // The upper bound wins where the bounds cross.
  rows.push_back(row("clip/crossed bounds", {kAny}, [](In x) { return Out{clip(x[0], 2, 1)}; },
                     {Tensor{{1.0f, 1.0f, 1.0f}, {1.0f, 1.0f, 1.0f}}}));
  rows.push_back(values("clip/special", {kSpecial, Tensor(-1.0f), Tensor(1.0f)}, clip_all,
                        {Tensor{kNan, 1.0f, -1.0f, 1.0f, -1.0f, 0.0f, -0.0f, 1.0e-38f}}));
  rows.push_back(values("clip/NaN bounds",
                        {Tensor{1.0f, 1.0f}, Tensor{kNan, 0.0f}, Tensor{2.0f, kNan}}, clip_all,
                        {Tensor{kNan, kNan}}));
  rows.push_back(values("clip/int64", {longs({4611686018427387905, kLongMin, 5})},
                        [](In x) { return Out{clip(x[0], 0, Tensor(std::int64_t{1} << 62))}; },
                        {longs({4611686018427387904, 0, 5})}));
  rows.push_back(row("clip/empty", {Tensor(float32, {0, 3}), low, Tensor(2.0f)}, clip_all,
                     {Tensor(float32, {0, 3})}));

  const Build lerp_all = [](In x) { return Out{lerp(x[0], x[1], x[2])}; };
  rows.push_back(row("lerp/broadcast", {kAny, Tensor{1.0f, 2.0f, 3.0f}, Tensor{{0.25f}, {0.75f}}},
                     lerp_all, {Tensor{{-1.25f, 0.125f, 0.84375f}, {0.9375f, 1.875f, 3.0f}}}));
  rows.push_back(row("lerp/number", {Tensor{1.0f, 2.0f}, Tensor{3.0f, -2.0f}},
                     [](In x) { return Out{lerp(x[0], x[1], 0.5)}; }, {Tensor{2.0f, 0.0f}}));
  rows.push_back(
      row("lerp/0-d", {Tensor(1.0f), Tensor(2.0f), Tensor(0.125f)}, lerp_all, {Tensor(1.125f)}));
  rows.push_back(float32_values(
      "lerp/ends", {Tensor{1.0e+8f, 1.0e+8f}, Tensor{1.0f, 1.0f}, Tensor{0.0f, 1.0f}}, lerp_all,
      {Tensor{1.0e+8f, 1.0f}}));
  rows.push_back(row("lerp/empty", {Tensor(float32, {0}), Tensor(float32, {0}), Tensor(0.5f)},
                     lerp_all, {Tensor(float32, {0})}));
}

}  // namespace

void add_activation_rows(Rows& rows) {
  add_activations(rows);
  add_rounding(rows);
  add_ternary(rows);
}

}  // namespace gradgraph::tests

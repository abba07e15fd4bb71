#include "row_helpers.h"

/// Expected values are NumPy's.
namespace gradgraph::tests {
namespace {

const Tensor kMatrix{{1.5f, -2.0f, 0.25f}, {3.0f, -0.5f, 4.0f}};
const Tensor kOther{{-0.75f, 2.5f, 1.0f}, {0.5f, -4.0f, 2.0f}};
const Tensor kRow{2.0f, -1.5f, 0.5f};
const Tensor kColumn{{4.0f}, {-2.0f}};
const Tensor kScalar(1.25f);
const Tensor kSpecial{kNan, kInf, -kInf, 3.0e+38f, -3.0e+38f, 0.0f, -0.0f, 1.0e-38f};
const Tensor kBeside{1.0f, kInf, 2.0f, 3.0e+38f, kNan, -0.0f, 0.0f, kNan};
const Tensor kInts = ints({7, -7, 2147483647, -2147483648});
const Tensor kSmallInts = ints({2, 2, 1, -1});
const Tensor kLongs = longs({4611686018427387904, kLongMin});
const Tensor kSmallLongs = longs({4, -1});
const Tensor kBytes = bytes({250, 3, 0});
const Tensor kMoreBytes = bytes({10, 2, 255});
const Tensor kAny{{-2.0f, -0.5f, 0.125f}, {0.75f, 1.5f, 3.0f}};
const Tensor kPositive{0.25f, 1.0f, 2.5f, 40.0f};
const Tensor kYes{true, true, false, false};
const Tensor kNo{true, false, true, false};
const Tensor kCondition{{true, false, true}, {false, false, true}};

void add_arithmetic(Rows& rows) {
  rows.push_back(row("add/plain", {kMatrix, kOther}, of(add),
                     {Tensor{{0.75f, 0.5f, 1.25f}, {3.5f, -4.5f, 6.0f}}}));
  rows.push_back(row("add/row", {kMatrix, kRow}, of(add),
                     {Tensor{{3.5f, -3.5f, 0.75f}, {5.0f, -2.0f, 4.5f}}}));
  rows.push_back(row("add/column", {kColumn, kMatrix}, of(add),
                     {Tensor{{5.5f, 2.0f, 4.25f}, {1.0f, -2.5f, 2.0f}}}));
  rows.push_back(row("add/outer", {kColumn, kRow}, of(add),
                     {Tensor{{6.0f, 2.5f, 4.5f}, {0.0f, -3.5f, -1.5f}}}));
  rows.push_back(
      row("add/scalar right", {kRow, kScalar}, of(add), {Tensor{3.25f, -0.25f, 1.75f}}));
  rows.push_back(
      row("add/scalar left", {kScalar, kRow}, of(add), {Tensor{3.25f, -0.25f, 1.75f}}));
  rows.push_back(row("add/0-d", {kScalar, Tensor(-0.5f)}, of(add), {Tensor(0.75f)}));
  rows.push_back(
      row("add/empty", {Tensor(float32, {0, 3}), kRow}, of(add), {Tensor(float32, {0, 3})}));
  rows.push_back(float32_values("add/special", {kSpecial, kBeside}, of(add),
                                {Tensor{kNan, kInf, -kInf, kInf, kNan, 0.0f, 0.0f, kNan}}));
  rows.push_back(row("sub/plain", {kMatrix, kOther}, of(sub),
                     {Tensor{{2.25f, -4.5f, -0.75f}, {2.5f, 3.5f, 2.0f}}}));
  rows.push_back(row("sub/row", {kMatrix, kRow}, of(sub),
                     {Tensor{{-0.5f, -0.5f, -0.25f}, {1.0f, 1.0f, 3.5f}}}));
  rows.push_back(row("sub/column", {kColumn, kMatrix}, of(sub),
                     {Tensor{{2.5f, 6.0f, 3.75f}, {-5.0f, -1.5f, -6.0f}}}));
  rows.push_back(row("sub/outer", {kColumn, kRow}, of(sub),
                     {Tensor{{2.0f, 5.5f, 3.5f}, {-4.0f, -0.5f, -2.5f}}}));
  rows.push_back(
      row("sub/scalar right", {kRow, kScalar}, of(sub), {Tensor{0.75f, -2.75f, -0.75f}}));
  rows.push_back(
      row("sub/scalar left", {kScalar, kRow}, of(sub), {Tensor{-0.75f, 2.75f, 0.75f}}));
  rows.push_back(row("sub/0-d", {kScalar, Tensor(-0.5f)}, of(sub), {Tensor(1.75f)}));
  rows.push_back(
      row("sub/empty", {Tensor(float32, {0, 3}), kRow}, of(sub), {Tensor(float32, {0, 3})}));
  rows.push_back(float32_values("sub/special", {kSpecial, kBeside}, of(sub),
                                {Tensor{kNan, kNan, -kInf, 0.0f, kNan, 0.0f, -0.0f, kNan}}));
  rows.push_back(row("mul/plain", {kMatrix, kOther}, of(mul),
                     {Tensor{{-1.125f, -5.0f, 0.25f}, {1.5f, 2.0f, 8.0f}}}));
  rows.push_back(row("mul/row", {kMatrix, kRow}, of(mul),
                     {Tensor{{3.0f, 3.0f, 0.125f}, {6.0f, 0.75f, 2.0f}}}));
  rows.push_back(row("mul/column", {kColumn, kMatrix}, of(mul),
                     {Tensor{{6.0f, -8.0f, 1.0f}, {-6.0f, 1.0f, -8.0f}}}));
  rows.push_back(row("mul/outer", {kColumn, kRow}, of(mul),
                     {Tensor{{8.0f, -6.0f, 2.0f}, {-4.0f, 3.0f, -1.0f}}}));
  rows.push_back(
      row("mul/scalar right", {kRow, kScalar}, of(mul), {Tensor{2.5f, -1.875f, 0.625f}}));
  rows.push_back(
      row("mul/scalar left", {kScalar, kRow}, of(mul), {Tensor{2.5f, -1.875f, 0.625f}}));
  rows.push_back(row("mul/0-d", {kScalar, Tensor(-0.5f)}, of(mul), {Tensor(-0.625f)}));
  rows.push_back(
      row("mul/empty", {Tensor(float32, {0, 3}), kRow}, of(mul), {Tensor(float32, {0, 3})}));
  rows.push_back(float32_values("mul/special", {kSpecial, kBeside}, of(mul),
                                {Tensor{kNan, kInf, -kInf, kInf, kNan, -0.0f, -0.0f, kNan}}));
  rows.push_back(row("div/plain", {kMatrix, kOther}, of(div),
                     {Tensor{{-2.0f, -0.8f, 0.25f}, {6.0f, 0.125f, 2.0f}}}));
  rows.push_back(row("div/row", {kMatrix, kRow}, of(div),
                     {Tensor{{0.75f, 1.3333334f, 0.5f}, {1.5f, 0.33333334f, 8.0f}}}));
  rows.push_back(row("div/column", {kColumn, kMatrix}, of(div),
                     {Tensor{{2.6666667f, -2.0f, 16.0f}, {-0.6666667f, 4.0f, -0.5f}}}));
  rows.push_back(row("div/outer", {kColumn, kRow}, of(div),
                     {Tensor{{2.0f, -2.6666667f, 8.0f}, {-1.0f, 1.3333334f, -4.0f}}}));
  rows.push_back(row("div/scalar right", {kRow, kScalar}, of(div), {Tensor{1.6f, -1.2f, 0.4f}}));
  rows.push_back(
      row("div/scalar left", {kScalar, kRow}, of(div), {Tensor{0.625f, -0.8333333f, 2.5f}}));
  rows.push_back(row("div/0-d", {kScalar, Tensor(-0.5f)}, of(div), {Tensor(-2.5f)}));
  rows.push_back(
      row("div/empty", {Tensor(float32, {0, 3}), kRow}, of(div), {Tensor(float32, {0, 3})}));
  rows.push_back(float32_values("div/special", {kSpecial, kBeside}, of(div),
                                {Tensor{kNan, kNan, -kInf, 1.0f, kNan, kNan, kNan, kNan}}));
  rows.push_back(row(
      "add/four axes",
      {elements<float>(
           {-2.0f, -1.75f, -1.5f, -1.25f, -1.0f, -0.75f, -0.5f, -0.25f, 0.0f, 0.25f, 0.5f, 0.75f,
            1.0f,  1.25f,  1.5f,  1.75f,  2.0f,  2.25f,  2.5f,  2.75f,  3.0f, 3.25f, 3.5f, 3.75f},
           {2, 1, 4, 3}),
       Tensor{{{1.0f}}, {{-2.0f}}, {{0.5f}}}},
      of(add),
      {elements<float>(
          {-1.0f, -0.75f, -0.5f,  -0.25f, 0.0f,   0.25f,  0.5f,   0.75f,  1.0f,   1.25f, 1.5f,
           1.75f, -4.0f,  -3.75f, -3.5f,  -3.25f, -3.0f,  -2.75f, -2.5f,  -2.25f, -2.0f, -1.75f,
           -1.5f, -1.25f, -1.5f,  -1.25f, -1.0f,  -0.75f, -0.5f,  -0.25f, 0.0f,   0.25f, 0.5f,
           0.75f, 1.0f,   1.25f,  2.0f,   2.25f,  2.5f,   2.75f,  3.0f,   3.25f,  3.5f,  3.75f,
           4.0f,  4.25f,  4.5f,   4.75f,  -1.0f,  -0.75f, -0.5f,  -0.25f, 0.0f,   0.25f, 0.5f,
           0.75f, 1.0f,   1.25f,  1.5f,   1.75f,  1.5f,   1.75f,  2.0f,   2.25f,  2.5f,  2.75f,
           3.0f,  3.25f,  3.5f,   3.75f,  4.0f,   4.25f},
          {2, 3, 4, 3})}));
  rows.push_back(row("add/unit axes", {Tensor{{{1.0f, 2.0f}}}, Tensor{{3.0f}, {4.0f}}}, of(add),
                     {Tensor{{{4.0f, 5.0f}, {5.0f, 6.0f}}}}));
  rows.push_back(row("add/one operand twice", {kRow}, [](In x) { return Out{add(x[0], x[0])}; },
                     {Tensor{4.0f, -3.0f, 1.0f}}));
  rows.push_back(row("mul/number", {kRow}, [](In x) { return Out{2.5 * x[0] * -2}; },
                     {Tensor{-10.0f, 7.5f, -2.5f}}));
  rows.push_back(values("add/int32 wraps", {kInts, kSmallInts}, of(add),
                        {ints({9, -5, -2147483648, 2147483647})}));
  rows.push_back(values("sub/int32 wraps", {kInts, kSmallInts}, of(sub),
                        {ints({5, -9, 2147483646, -2147483647})}));
  rows.push_back(values("mul/int32 wraps", {kInts, kSmallInts}, of(mul),
                        {ints({14, -14, 2147483647, -2147483648})}));
  rows.push_back(values("div/int32 towards zero", {kInts, kSmallInts}, of(div),
                        {ints({3, -3, 2147483647, -2147483648})}));
  rows.push_back(
      values("mul/int64 wraps", {kLongs, kSmallLongs}, of(mul), {longs({0, kLongMin})}));
  rows.push_back(values("div/int64", {kLongs, kSmallLongs}, of(div),
                        {longs({1152921504606846976, kLongMin})}));
  rows.push_back(values("add/uint8 wraps", {kBytes, kMoreBytes}, of(add), {bytes({4, 5, 255})}));
  rows.push_back(values("sub/uint8 wraps", {kBytes, kMoreBytes}, of(sub), {bytes({240, 1, 1})}));
  rows.push_back(values("mul/uint8 wraps", {kBytes, kMoreBytes}, of(mul), {bytes({196, 6, 0})}));
  rows.push_back(values("div/uint8", {kBytes, kMoreBytes}, of(div), {bytes({25, 1, 0})}));
  rows.push_back(
      row("pow/plain",
          {Tensor{{0.5f, 2.0f, 3.0f}, {1.0f, 1.5f, 0.25f}},
           Tensor{{2.0f, -1.5f, 0.5f}, {3.0f, -2.0f, 1.25f}}},
          of(pow), {Tensor{{0.25f, 0.35355338f, 1.7320509f}, {1.0f, 0.44444445f, 0.17677669f}}}));
  rows.push_back(row("pow/broadcast",
                     {Tensor{{0.5f, 2.0f, 3.0f}, {1.0f, 1.5f, 0.25f}}, Tensor{2.0f, -1.0f, 0.5f}},
                     of(pow), {Tensor{{0.25f, 0.5f, 1.7320509f}, {1.0f, 0.6666667f, 0.5f}}}));
  rows.push_back(row("pow/number", {Tensor{-1.5f, 2.0f, 3.0f}},
                     [](In x) { return Out{pow(x[0], 3)}; }, {Tensor{-3.375f, 8.0f, 27.0f}}));
  rows.push_back(values("pow/special",
                        {Tensor{0.0f, 0.0f, kNan, 1.0f, kInf, -2.0f, -2.0f, 0.0f},
                         Tensor{0.0f, -1.0f, 0.0f, kNan, -1.0f, 3.0f, 0.5f, 2.0f}},
                        of(pow), {Tensor{1.0f, kInf, 1.0f, 1.0f, 0.0f, -8.0f, kNan, 0.0f}}));
  rows.push_back(values("pow/int32", {ints({2, -3, 0, 1, 2}), ints({10, 3, 0, 100, 31})}, of(pow),
                        {ints({1024, -27, 1, 1, -2147483648})}));
  rows.push_back(row("maximum/plain", {kMatrix, kOther}, of(maximum),
                     {Tensor{{1.5f, 2.5f, 1.0f}, {3.0f, -0.5f, 4.0f}}}));
  rows.push_back(row("maximum/broadcast", {kMatrix, kRow}, of(maximum),
                     {Tensor{{2.0f, -1.5f, 0.5f}, {3.0f, -0.5f, 4.0f}}}));
  rows.push_back(values("maximum/special", {kSpecial, kBeside}, of(maximum),
                        {Tensor{kNan, kInf, 2.0f, 3.0e+38f, kNan, -0.0f, 0.0f, kNan}}));
  rows.push_back(values("maximum/int64", {kLongs, kSmallLongs}, of(maximum),
                        {longs({4611686018427387904, -1})}));
  rows.push_back(row("relu_grad/plain", {kMatrix, kOther}, of(relu_grad),
                     {Tensor{{-0.75f, 0.0f, 1.0f}, {0.5f, 0.0f, 2.0f}}}));
  rows.push_back(row("relu_grad/outer", {kColumn, kRow}, of(relu_grad),
                     {Tensor{{2.0f, -1.5f, 0.5f}, {0.0f, 0.0f, 0.0f}}}));
  rows.push_back(values("relu_grad/special", {kSpecial, kBeside}, of(relu_grad),
                        {Tensor{1.0f, kInf, 0.0f, 3.0e+38f, 0.0f, 0.0f, 0.0f, kNan}}));
  rows.push_back(
      values("relu_grad/int32", {kInts, kSmallInts}, of(relu_grad), {ints({2, 0, 1, 0})}));
  rows.push_back(
      values("relu_grad/uint8", {kBytes, kMoreBytes}, of(relu_grad), {bytes({10, 2, 0})}));
  rows.push_back(row("minimum/plain", {kMatrix, kOther}, of(minimum),
                     {Tensor{{-0.75f, -2.0f, 0.25f}, {0.5f, -4.0f, 2.0f}}}));
  rows.push_back(row("minimum/broadcast", {kColumn, kRow}, of(minimum),
                     {Tensor{{2.0f, -1.5f, 0.5f}, {-2.0f, -2.0f, -2.0f}}}));
  rows.push_back(values("minimum/special", {kSpecial, kBeside}, of(minimum),
                        {Tensor{kNan, kInf, -kInf, 3.0e+38f, kNan, -0.0f, 0.0f, kNan}}));
  rows.push_back(values("minimum/uint8", {kBytes, kMoreBytes}, of(minimum), {bytes({10, 2, 0})}));
}

void add_functions(Rows& rows) {
  rows.push_back(
      row("neg/plain", {kAny}, of(neg), {Tensor{{2.0f, 0.5f, -0.125f}, {-0.75f, -1.5f, -3.0f}}}));
  rows.push_back(row("neg/0-d", {Tensor(0.75f)}, of(neg), {Tensor(-0.75f)}));
  rows.push_back(row("neg/empty", {Tensor(float32, {2, 0})}, of(neg), {Tensor(float32, {2, 0})}));
  rows.push_back(
      values("neg/special", {kSpecial}, of(neg),
             {Tensor{kNan, -kInf, kInf, -3.0e+38f, 3.0e+38f, -0.0f, 0.0f, -1.0e-38f}}));
  rows.push_back(
      row("exp/plain", {kAny}, of(exp),
          {Tensor{{0.13533528f, 0.60653067f, 1.1331484f}, {2.117f, 4.481689f, 20.085537f}}}));
  rows.push_back(row("exp/0-d", {Tensor(0.75f)}, of(exp), {Tensor(2.117f)}));
  rows.push_back(row("exp/empty", {Tensor(float32, {2, 0})}, of(exp), {Tensor(float32, {2, 0})}));
  rows.push_back(float32_values("exp/special", {kSpecial}, of(exp),
                                {Tensor{kNan, kInf, 0.0f, kInf, 0.0f, 1.0f, 1.0f, 1.0f}}));
  rows.push_back(
      row("exp/float64", {Tensor{0.1, 1.7, 12.5, -0.3}}, of(exp),
          {Tensor{1.1051709180756477, 5.4739473917272, 268337.2865208745, 0.7408182206817179}}));
  rows.push_back(row("log/plain", {kPositive}, of(log),
                     {Tensor{-1.3862944f, 0.0f, 0.91629076f, 3.6888795f}}));
  rows.push_back(row("log/0-d", {Tensor(0.75f)}, of(log), {Tensor(-0.2876821f)}));
  rows.push_back(row("log/empty", {Tensor(float32, {2, 0})}, of(log), {Tensor(float32, {2, 0})}));
  rows.push_back(values("log/special", {kSpecial}, of(log),
                        {Tensor{kNan, kInf, kNan, 88.59685f, kNan, -kInf, -kInf, -87.49824f}}));
  rows.push_back(row("log/float64", {Tensor{0.1, 1.7, 12.5, 0.2}}, of(log),
                     {Tensor{-2.3025850929940455, 0.5306282510621704, 2.5257286443082556,
                             -1.6094379124341003}}));
  rows.push_back(
      row("sqrt/plain", {kPositive}, of(sqrt), {Tensor{0.5f, 1.0f, 1.5811388f, 6.3245554f}}));
  rows.push_back(row("sqrt/0-d", {Tensor(0.75f)}, of(sqrt), {Tensor(0.8660254f)}));
  rows.push_back(
      row("sqrt/empty", {Tensor(float32, {2, 0})}, of(sqrt), {Tensor(float32, {2, 0})}));
  rows.push_back(values("sqrt/special", {kSpecial}, of(sqrt),
                        {Tensor{kNan, kInf, kNan, 1.7320508e+19f, kNan, 0.0f, -0.0f, 1.0e-19f}}));
  rows.push_back(
      row("rsqrt/plain", {kPositive}, of(rsqrt), {Tensor{2.0f, 1.0f, 0.6324555f, 0.15811388f}}));
  rows.push_back(row("rsqrt/0-d", {Tensor(0.75f)}, of(rsqrt), {Tensor(1.1547005f)}));
  rows.push_back(
      row("rsqrt/empty", {Tensor(float32, {2, 0})}, of(rsqrt), {Tensor(float32, {2, 0})}));
  rows.push_back(values("rsqrt/special", {kSpecial}, of(rsqrt),
                        {Tensor{kNan, 0.0f, kNan, 5.773503e-20f, kNan, kInf, -kInf, 1.0e+19f}}));
  rows.push_back(
      row("rsqrt/float64", {Tensor{0.1, 1.7, 12.5, 0.2}}, of(rsqrt),
          {Tensor{3.162277660168379, 0.7669649888473704, 0.282842712474619, 2.23606797749979}}));
  rows.push_back(row("square/plain", {kAny}, of(square),
                     {Tensor{{4.0f, 0.25f, 0.015625f}, {0.5625f, 2.25f, 9.0f}}}));
  rows.push_back(row("square/0-d", {Tensor(0.75f)}, of(square), {Tensor(0.5625f)}));
  rows.push_back(
      row("square/empty", {Tensor(float32, {2, 0})}, of(square), {Tensor(float32, {2, 0})}));
  rows.push_back(float32_values("square/special", {kSpecial}, of(square),
                                {Tensor{kNan, kInf, kInf, kInf, kInf, 0.0f, 0.0f, 0.0f}}));
  rows.push_back(
      row("abs/plain", {kAny}, of(abs), {Tensor{{2.0f, 0.5f, 0.125f}, {0.75f, 1.5f, 3.0f}}}));
  rows.push_back(row("abs/0-d", {Tensor(0.75f)}, of(abs), {Tensor(0.75f)}));
  rows.push_back(row("abs/empty", {Tensor(float32, {2, 0})}, of(abs), {Tensor(float32, {2, 0})}));
  rows.push_back(values("abs/special", {kSpecial}, of(abs),
                        {Tensor{kNan, kInf, kInf, 3.0e+38f, 3.0e+38f, 0.0f, 0.0f, 1.0e-38f}}));
  rows.push_back(
      row("sign/plain", {kAny}, of(sign), {Tensor{{-1.0f, -1.0f, 1.0f}, {1.0f, 1.0f, 1.0f}}}));
  rows.push_back(row("sign/0-d", {Tensor(0.75f)}, of(sign), {Tensor(1.0f)}));
  rows.push_back(
      row("sign/empty", {Tensor(float32, {2, 0})}, of(sign), {Tensor(float32, {2, 0})}));
  rows.push_back(values("sign/special", {kSpecial}, of(sign),
                        {Tensor{kNan, 1.0f, -1.0f, 1.0f, -1.0f, 0.0f, 0.0f, 1.0f}}));
  rows.push_back(
      row("relu/plain", {kAny}, of(relu), {Tensor{{0.0f, 0.0f, 0.125f}, {0.75f, 1.5f, 3.0f}}}));
  rows.push_back(row("relu/0-d", {Tensor(0.75f)}, of(relu), {Tensor(0.75f)}));
  rows.push_back(
      row("relu/empty", {Tensor(float32, {2, 0})}, of(relu), {Tensor(float32, {2, 0})}));
  rows.push_back(values("relu/special", {kSpecial}, of(relu),
                        {Tensor{kNan, kInf, 0.0f, 3.0e+38f, 0.0f, 0.0f, -0.0f, 1.0e-38f}}));
  rows.push_back(row(
      "sigmoid/plain", {kAny}, of(sigmoid),
      {Tensor{{0.119202934f, 0.37754068f, 0.5312094f}, {0.6791787f, 0.8175745f, 0.95257413f}}}));
  rows.push_back(row("sigmoid/0-d", {Tensor(0.75f)}, of(sigmoid), {Tensor(0.6791787f)}));
  rows.push_back(
      row("sigmoid/empty", {Tensor(float32, {2, 0})}, of(sigmoid), {Tensor(float32, {2, 0})}));
  rows.push_back(values("sigmoid/special", {kSpecial}, of(sigmoid),
                        {Tensor{kNan, 1.0f, 0.0f, 1.0f, 0.0f, 0.5f, 0.5f, 0.5f}}));
  rows.push_back(
      row("sigmoid/float64", {Tensor{0.1, 1.7, 12.5, -0.3}}, of(sigmoid),
          {Tensor{0.52497918747894, 0.8455347349164652, 0.9999962733607158, 0.425557483188341}}));
  rows.push_back(
      row("tanh/plain", {kAny}, of(tanh),
          {Tensor{{-0.9640276f, -0.4621172f, 0.124353f}, {0.635149f, 0.9051482f, 0.9950548f}}}));
  rows.push_back(row("tanh/0-d", {Tensor(0.75f)}, of(tanh), {Tensor(0.635149f)}));
  rows.push_back(
      row("tanh/empty", {Tensor(float32, {2, 0})}, of(tanh), {Tensor(float32, {2, 0})}));
  rows.push_back(values("tanh/special", {kSpecial}, of(tanh),
                        {Tensor{kNan, 1.0f, -1.0f, 1.0f, -1.0f, 0.0f, -0.0f, 1.0e-38f}}));
  rows.push_back(row(
      "tanh/float64", {Tensor{0.1, 1.7, 12.5, -0.3}}, of(tanh),
      {Tensor{0.09966799462495582, 0.935409070603099, 0.9999999999722241, -0.2913126124515909}}));
  rows.push_back(row("expm1/plain", {kAny}, of(expm1),
                     {Tensor{{-0.864664717f, -0.39346934f, 0.133148453f},
                             {1.11700002f, 3.48168907f, 19.0855369f}}}));
  rows.push_back(row("expm1/0-d", {Tensor(0.75f)}, of(expm1), {Tensor(1.11700002f)}));
  rows.push_back(
      row("expm1/empty", {Tensor(float32, {2, 0})}, of(expm1), {Tensor(float32, {2, 0})}));
  rows.push_back(values("expm1/special", {kSpecial}, of(expm1),
                        {Tensor{kNan, kInf, -1.0f, kInf, -1.0f, 0.0f, -0.0f, 1.0e-38f}}));
  rows.push_back(row(
      "expm1/float64", {Tensor{0.1, 1.7, 12.5, -0.3}}, of(expm1),
      {Tensor{0.10517091807564763, 4.4739473917272, 268336.2865208745, -0.2591817793182821}}));
  rows.push_back(row("log1p/plain", {Tensor{-0.5f, 0.0f, 1e-6f, 1.5f, 40.0f}}, of(log1p),
                     {Tensor{-0.693147181f, 0.0f, 9.99999497e-07f, 0.916290732f, 3.71357207f}}));
  rows.push_back(row("log1p/0-d", {Tensor(0.75f)}, of(log1p), {Tensor(0.559615788f)}));
  rows.push_back(
      row("log1p/empty", {Tensor(float32, {2, 0})}, of(log1p), {Tensor(float32, {2, 0})}));
  rows.push_back(values("log1p/special", {kSpecial}, of(log1p),
                        {Tensor{kNan, kInf, kNan, 88.5968458f, kNan, 0.0f, -0.0f, 1.0e-38f}}));
  rows.push_back(row("log1p/float64", {Tensor{0.1, 1.7, 12.5, -0.3}}, of(log1p),
                     {Tensor{0.09531017980432487, 0.9932517730102833, 2.6026896854443837,
                             -0.35667494393873234}}));
  rows.push_back(row("erf/plain", {kAny}, of(erf),
                     {Tensor{{-0.995322265f, -0.520499878f, 0.140316205f},
                             {0.711155634f, 0.966105146f, 0.99997791f}}}));
  rows.push_back(row("erf/0-d", {Tensor(0.75f)}, of(erf), {Tensor(0.711155634f)}));
  rows.push_back(row("erf/empty", {Tensor(float32, {2, 0})}, of(erf), {Tensor(float32, {2, 0})}));
  rows.push_back(values("erf/special", {kSpecial}, of(erf),
                        {Tensor{kNan, 1.0f, -1.0f, 1.0f, -1.0f, 0.0f, -0.0f, 1.12837917e-38f}}));
  rows.push_back(row("erf/float64", {Tensor{0.1, 1.7, 12.5, -0.3}}, of(erf),
                     {Tensor{0.1124629160182849, 0.9837904585907745, 1.0, -0.3286267594591274}}));
  rows.push_back(
      row("sin/plain", {kAny}, of(sin),
          {Tensor{{-0.9092974f, -0.47942555f, 0.12467473f}, {0.6816388f, 0.997495f, 0.14112f}}}));
  rows.push_back(row("sin/0-d", {Tensor(0.75f)}, of(sin), {Tensor(0.6816388f)}));
  rows.push_back(row("sin/empty", {Tensor(float32, {2, 0})}, of(sin), {Tensor(float32, {2, 0})}));
  rows.push_back(values("sin/special", {Tensor{kNan, kInf, -kInf, 0.0f, -0.0f}}, of(sin),
                        {Tensor{kNan, kNan, kNan, 0.0f, -0.0f}}));
  rows.push_back(row("sin/float64", {Tensor{0.1, 1.7, 12.5, -0.3}}, of(sin),
                     {Tensor{0.09983341664682815, 0.9916648104524686, -0.06632189735120068,
                             -0.29552020666133955}}));
  rows.push_back(row(
      "cos/plain", {kAny}, of(cos),
      {Tensor{{-0.4161468f, 0.87758255f, 0.9921977f}, {0.73168886f, 0.0707372f, -0.9899925f}}}));
  rows.push_back(row("cos/0-d", {Tensor(0.75f)}, of(cos), {Tensor(0.73168886f)}));
  rows.push_back(row("cos/empty", {Tensor(float32, {2, 0})}, of(cos), {Tensor(float32, {2, 0})}));
  rows.push_back(values("cos/special", {Tensor{kNan, kInf, -kInf, 0.0f, -0.0f}}, of(cos),
                        {Tensor{kNan, kNan, kNan, 1.0f, 1.0f}}));
  rows.push_back(row(
      "cos/float64", {Tensor{0.1, 1.7, 12.5, -0.3}}, of(cos),
      {Tensor{0.9950041652780258, -0.12884449429552464, 0.9977982791785807, 0.955336489125606}}));
  rows.push_back(
      values("neg/int32", {kInts}, of(neg), {ints({-7, 7, -2147483647, -2147483648})}));
  rows.push_back(values("neg/uint8", {kBytes}, of(neg), {bytes({6, 253, 0})}));
  rows.push_back(values("abs/int32", {kInts}, of(abs), {ints({7, 7, 2147483647, -2147483648})}));
  rows.push_back(values("sign/int64", {longs({5, 0, kLongMin})}, of(sign), {longs({1, 0, -1})}));
  rows.push_back(values("square/int32 wraps", {kInts}, of(square), {ints({49, 49, 1, 0})}));
  rows.push_back(values("relu/int32", {kInts}, of(relu), {ints({7, 0, 2147483647, 0})}));
}

void add_comparisons(Rows& rows) {
  rows.push_back(
      values("equal/broadcast",
             {Tensor{{1.0f, 2.0f, 3.0f}, {3.0f, 2.0f, 1.0f}}, Tensor{2.0f, 2.0f, 3.0f}},
             of(equal), {Tensor{{false, true, true}, {false, true, false}}}));
  rows.push_back(values("equal/special", {kSpecial, kBeside}, of(equal),
                        {Tensor{false, true, false, true, false, true, true, false}}));
  rows.push_back(values("equal/int64", {kLongs, kSmallLongs}, of(equal), {Tensor{false, false}}));
  rows.push_back(
      values("equal/uint8", {kBytes, kMoreBytes}, of(equal), {Tensor{false, false, false}}));
  rows.push_back(
      values("not_equal/broadcast",
             {Tensor{{1.0f, 2.0f, 3.0f}, {3.0f, 2.0f, 1.0f}}, Tensor{2.0f, 2.0f, 3.0f}},
             of(not_equal), {Tensor{{true, false, false}, {true, false, true}}}));
  rows.push_back(values("not_equal/special", {kSpecial, kBeside}, of(not_equal),
                        {Tensor{true, false, true, false, true, false, false, true}}));
  rows.push_back(
      values("not_equal/int64", {kLongs, kSmallLongs}, of(not_equal), {Tensor{true, true}}));
  rows.push_back(
      values("not_equal/uint8", {kBytes, kMoreBytes}, of(not_equal), {Tensor{true, true, true}}));
  rows.push_back(
      values("less/broadcast",
             {Tensor{{1.0f, 2.0f, 3.0f}, {3.0f, 2.0f, 1.0f}}, Tensor{2.0f, 2.0f, 3.0f}}, of(less),
             {Tensor{{true, false, false}, {false, false, true}}}));
  rows.push_back(values("less/special", {kSpecial, kBeside}, of(less),
                        {Tensor{false, false, true, false, false, false, false, false}}));
  rows.push_back(values("less/int64", {kLongs, kSmallLongs}, of(less), {Tensor{false, true}}));
  rows.push_back(
      values("less/uint8", {kBytes, kMoreBytes}, of(less), {Tensor{false, false, true}}));
  rows.push_back(
      values("less_equal/broadcast",
             {Tensor{{1.0f, 2.0f, 3.0f}, {3.0f, 2.0f, 1.0f}}, Tensor{2.0f, 2.0f, 3.0f}},
             of(less_equal), {Tensor{{true, true, true}, {false, true, true}}}));
  rows.push_back(values("less_equal/special", {kSpecial, kBeside}, of(less_equal),
                        {Tensor{false, true, true, true, false, true, true, false}}));
  rows.push_back(
      values("less_equal/int64", {kLongs, kSmallLongs}, of(less_equal), {Tensor{false, true}}));
  rows.push_back(values("less_equal/uint8", {kBytes, kMoreBytes}, of(less_equal),
                        {Tensor{false, false, true}}));
  rows.push_back(
      values("greater/broadcast",
             {Tensor{{1.0f, 2.0f, 3.0f}, {3.0f, 2.0f, 1.0f}}, Tensor{2.0f, 2.0f, 3.0f}},
             of(greater), {Tensor{{false, false, false}, {true, false, false}}}));
  rows.push_back(values("greater/special", {kSpecial, kBeside}, of(greater),
                        {Tensor{false, false, false, false, false, false, false, false}}));
  rows.push_back(
      values("greater/int64", {kLongs, kSmallLongs}, of(greater), {Tensor{true, false}}));
  rows.push_back(
      values("greater/uint8", {kBytes, kMoreBytes}, of(greater), {Tensor{true, true, false}}));
  rows.push_back(
      values("greater_equal/broadcast",
             {Tensor{{1.0f, 2.0f, 3.0f}, {3.0f, 2.0f, 1.0f}}, Tensor{2.0f, 2.0f, 3.0f}},
             of(greater_equal), {Tensor{{false, true, true}, {true, true, false}}}));
  rows.push_back(values("greater_equal/special", {kSpecial, kBeside}, of(greater_equal),
                        {Tensor{false, true, false, true, false, true, true, false}}));
  rows.push_back(values("greater_equal/int64", {kLongs, kSmallLongs}, of(greater_equal),
                        {Tensor{true, false}}));
  rows.push_back(values("greater_equal/uint8", {kBytes, kMoreBytes}, of(greater_equal),
                        {Tensor{true, true, false}}));
  rows.push_back(values("less/scalar left", {Tensor(2.0f), Tensor{2.0f, 2.0f, 3.0f}}, of(less),
                        {Tensor{false, false, true}}));
  rows.push_back(values("less/0-d", {Tensor(2.0f), Tensor(3.0f)}, of(less), {Tensor(true)}));
  rows.push_back(values("less/empty", {Tensor(float32, {0}), Tensor(3.0f)}, of(less),
                        {Tensor(boolean, {0})}));
  rows.push_back(
      values("equal/bool", {kYes, kNo}, of(equal), {Tensor{true, false, false, true}}));
  rows.push_back(
      values("not_equal/bool", {kYes, kNo}, of(not_equal), {Tensor{false, true, true, false}}));
  rows.push_back(values("logical_and/plain", {kYes, kNo}, of(logical_and),
                        {Tensor{true, false, false, false}}));
  rows.push_back(values("logical_and/scalar", {kYes, Tensor(true)}, of(logical_and), {kYes}));
  rows.push_back(
      values("logical_or/plain", {kYes, kNo}, of(logical_or), {Tensor{true, true, true, false}}));
  rows.push_back(
      values("logical_or/column", {Tensor{{true}, {true}, {false}, {false}}, Tensor{true, false}},
             of(logical_or), {Tensor{{true, true}, {true, true}, {true, false}, {true, false}}}));
  rows.push_back(
      values("logical_not/plain", {kYes}, of(logical_not), {Tensor{false, false, true, true}}));
}

void add_selection(Rows& rows) {
  rows.push_back(row("where/plain", {kCondition, kMatrix, kOther},
                     [](In x) { return Out{where(x[0], x[1], x[2])}; },
                     {Tensor{{1.5f, 2.5f, 0.25f}, {0.5f, -4.0f, 4.0f}}}));
  rows.push_back(row("where/scalar left", {kCondition, kScalar, kOther},
                     [](In x) { return Out{where(x[0], x[1], x[2])}; },
                     {Tensor{{1.25f, 2.5f, 1.25f}, {0.5f, -4.0f, 1.25f}}}));
  rows.push_back(row("where/scalar right", {kCondition, kMatrix, kScalar},
                     [](In x) { return Out{where(x[0], x[1], x[2])}; },
                     {Tensor{{1.5f, 1.25f, 0.25f}, {1.25f, 1.25f, 4.0f}}}));
  rows.push_back(row("where/row condition", {Tensor{true, false, true}, kMatrix, kColumn},
                     [](In x) { return Out{where(x[0], x[1], x[2])}; },
                     {Tensor{{1.5f, 4.0f, 0.25f}, {3.0f, -2.0f, 4.0f}}}));
  rows.push_back(row("where/column condition", {Tensor{{true}, {false}}, kMatrix, kRow},
                     [](In x) { return Out{where(x[0], x[1], x[2])}; },
                     {Tensor{{1.5f, -2.0f, 0.25f}, {2.0f, -1.5f, 0.5f}}}));
  rows.push_back(row("where/scalar condition", {Tensor(false), kMatrix, kRow},
                     [](In x) { return Out{where(x[0], x[1], x[2])}; },
                     {Tensor{{2.0f, -1.5f, 0.5f}, {2.0f, -1.5f, 0.5f}}}));
  rows.push_back(row("where/0-d", {Tensor(true), kScalar, Tensor(3.0f)},
                     [](In x) { return Out{where(x[0], x[1], x[2])}; }, {Tensor(1.25f)}));
  rows.push_back(
      row("where/empty",
          {Tensor(boolean, {0, 1}), Tensor{{1.5f, -2.0f, 0.25f}}, Tensor{{-0.75f, 2.5f, 1.0f}}},
          [](In x) { return Out{where(x[0], x[1], x[2])}; }, {Tensor(float32, {0, 3})}));
  rows.push_back(row("where/number", {kCondition, kMatrix},
                     [](In x) { return Out{where(x[0], x[1], 0.5)}; },
                     {Tensor{{1.5f, 0.5f, 0.25f}, {0.5f, 0.5f, 4.0f}}}));
  rows.push_back(values("where/nan stays behind",
                        {Tensor{true, false}, Tensor{1.0f, kNan}, Tensor{kInf, 2.0f}},
                        [](In x) { return Out{where(x[0], x[1], x[2])}; }, {Tensor{1.0f, 2.0f}}));
  rows.push_back(values("where/int64", {Tensor{true, false}, kLongs, kSmallLongs},
                        [](In x) { return Out{where(x[0], x[1], x[2])}; },
                        {longs({4611686018427387904, -1})}));
  rows.push_back(values("where/bool", {kYes, kNo, Tensor{false, true, false, true}},
                        [](In x) { return Out{where(x[0], x[1], x[2])}; },
                        {Tensor{true, false, false, true}}));
  rows.push_back(values("where/uint8",
                        {Tensor{true, false, true}, kBytes, Tensor(std::uint8_t{9})},
                        [](In x) { return Out{where(x[0], x[1], x[2])}; }, {bytes({250, 9, 0})}));
}

void add_casts(Rows& rows) {
  rows.push_back(float32_row("cast/float32 to float64", {kMatrix},
                             [](In x) { return Out{cast(x[0], float64)}; },
                             {Tensor{{1.5, -2.0, 0.25}, {3.0, -0.5, 4.0}}}));
  rows.push_back(float32_values("cast/float64 to float32", {Tensor{0.5, 1.25, -3.0}},
                                [](In x) { return Out{cast(x[0], float32)}; },
                                {Tensor{0.5f, 1.25f, -3.0f}}));
  rows.push_back(values("cast/float to int32 saturates",
                        {Tensor{1.9f, -1.9f, 3.0e+09f, -3.0e+09f, kInf, -kInf, kNan, -0.0f}},
                        [](In x) { return Out{cast(x[0], int32)}; },
                        {ints({1, -1, 2147483647, -2147483648, 2147483647, -2147483648, 0, 0})}));
  rows.push_back(values("cast/float to int64 saturates",
                        {Tensor{1.9f, 1.0e+19f, -1.0e+19f, kNan}},
                        [](In x) { return Out{cast(x[0], int64)}; },
                        {longs({1, 9223372036854775807, kLongMin, 0})}));
  rows.push_back(
      values("cast/float to uint8 saturates", {Tensor{1.9f, -1.0f, 300.0f, 255.0f, kNan}},
             [](In x) { return Out{cast(x[0], uint8)}; }, {bytes({1, 0, 255, 255, 0})}));
  rows.push_back(values("cast/float to bool", {Tensor{0.0f, -0.0f, 0.5f, kNan}},
                        [](In x) { return Out{cast(x[0], boolean)}; },
                        {Tensor{false, false, true, true}}));
  rows.push_back(float32_values("cast/bool to float", {kYes},
                                [](In x) { return Out{cast(x[0], float32)}; },
                                {Tensor{1.0f, 1.0f, 0.0f, 0.0f}}));
  rows.push_back(values("cast/int32 to uint8 wraps", {ints({255, 256, -1})},
                        [](In x) { return Out{cast(x[0], uint8)}; }, {bytes({255, 0, 255})}));
  rows.push_back(values("cast/uint8 to int64", {kBytes},
                        [](In x) { return Out{cast(x[0], int64)}; }, {longs({250, 3, 0})}));
  rows.push_back(values("cast/int64 to int32 wraps", {longs({4294967301, -1})},
                        [](In x) { return Out{cast(x[0], int32)}; }, {ints({5, -1})}));
  rows.push_back(values("cast/int64 to bool", {longs({4294967296, 0})},
                        [](In x) { return Out{cast(x[0], boolean)}; }, {Tensor{true, false}}));
  rows.push_back(float32_values("cast/same dtype", {kRow},
                                [](In x) { return Out{cast(x[0], float32)}; }, {kRow}));
  rows.push_back(values("cast/empty", {Tensor(float32, {0, 2})},
                        [](In x) { return Out{cast(x[0], int32)}; }, {Tensor(int32, {0, 2})}));
  rows.push_back(values("cast/0-d", {Tensor(2.5f)}, [](In x) { return Out{cast(x[0], int32)}; },
                        {Tensor(std::int32_t{2})}));
}

}  // namespace

void add_elementwise_rows(Rows& rows) {
  add_arithmetic(rows);
  add_functions(rows);
  add_comparisons(rows);
  add_selection(rows);
  add_casts(rows);
}

}  // namespace gradgraph::tests

#include "row_helpers.h"

/// Expected values are NumPy's.
namespace gradgraph::tests {
namespace {

const Tensor kMatrix{{1.5f, -2.0f, 0.25f}, {3.0f, -0.5f, 4.0f}};
const Tensor kCube{{{1.0f, -2.0f, 0.5f, 3.0f}, {0.25f, 4.0f, -1.5f, 2.0f}},
                   {{-3.0f, 2.5f, 1.25f, -0.5f}, {6.0f, -0.75f, 5.0f, 1.75f}},
                   {{0.125f, -4.0f, 7.0f, -2.5f}, {3.5f, -6.0f, 8.0f, -1.25f}}};
const Tensor kFiveAxes = elements<float>(
    {-6.0f,  -1.375f, 3.25f,  -4.125f, 0.5f,   5.125f,  -2.25f, 2.375f,  -5.0f,  -0.375f,
     4.25f,  -3.125f, 1.5f,   -5.875f, -1.25f, 3.375f,  -4.0f,  0.625f,  5.25f,  -2.125f,
     2.5f,   -4.875f, -0.25f, 4.375f,  -3.0f,  1.625f,  -5.75f, -1.125f, 3.5f,   -3.875f,
     0.75f,  5.375f,  -2.0f,  2.625f,  -4.75f, -0.125f, 4.5f,   -2.875f, 1.75f,  -5.625f,
     -1.0f,  3.625f,  -3.75f, 0.875f,  5.5f,   -1.875f, 2.75f,  -4.625f, 0.0f,   4.625f,
     -2.75f, 1.875f,  -5.5f,  -0.875f, 3.75f,  -3.625f, 1.0f,   5.625f,  -1.75f, 2.875f,
     -4.5f,  0.125f,  4.75f,  -2.625f, 2.0f,   -5.375f, -0.75f, 3.875f,  -3.5f,  1.125f,
     5.75f,  -1.625f, 3.0f,   -4.375f, 0.25f,  4.875f,  -2.5f,  2.125f,  -5.25f, -0.625f,
     4.0f,   -3.375f, 1.25f,  5.875f,  -1.5f,  3.125f,  -4.25f, 0.375f,  5.0f,   -2.375f,
     2.25f,  -5.125f, -0.5f,  4.125f,  -3.25f, 1.375f},
    {2, 3, 2, 4, 2});
const Tensor kLongs =
    elements<std::int64_t>({4611686018427387904, 3, 4611686018427387904, -7, 2, 9}, {2, 3});

void add_sums(Rows& rows) {
  rows.push_back(row("sum/all", {kMatrix}, [](In x) { return Out{sum(x[0])}; }, {Tensor(6.25f)}));
  rows.push_back(
      row("sum/rows", {kMatrix}, [](In x) { return Out{sum(x[0], 1)}; }, {Tensor{-0.25f, 6.5f}}));
  rows.push_back(row("sum/columns", {kMatrix}, [](In x) { return Out{sum(x[0], 0)}; },
                     {Tensor{4.5f, -2.5f, 4.25f}}));
  rows.push_back(row("sum/negative axis", {kCube}, [](In x) { return Out{sum(x[0], -2)}; },
                     {Tensor{{1.25f, 2.0f, -1.0f, 5.0f},
                             {3.0f, 1.75f, 6.25f, 1.25f},
                             {3.625f, -10.0f, 15.0f, -3.75f}}}));
  rows.push_back(row("sum/keep_dims", {kMatrix}, [](In x) { return Out{sum(x[0], -1, true)}; },
                     {Tensor{{-0.25f}, {6.5f}}}));
  rows.push_back(row("sum/outer and inner", {kCube},
                     [](In x) {
                       return Out{sum(x[0], {2, 0})};
                     },
                     {Tensor{3.375f, 21.0f}}));
  rows.push_back(row("sum/outer and inner kept", {kCube},
                     [](In x) {
                       return Out{sum(x[0], {0, -1}, true)};
                     },
                     {Tensor{{{3.375f}, {21.0f}}}}));
  rows.push_back(row("sum/all kept", {kMatrix}, [](In x) { return Out{sum(x[0], Axes(), true)}; },
                     {Tensor{{6.25f}}}));
  rows.push_back(row("sum/no axes", {kMatrix},
                     [](In x) { return Out{sum(x[0], std::vector<std::int64_t>())}; },
                     {kMatrix}));
  rows.push_back(
      row("sum/0-d", {Tensor(1.5f)}, [](In x) { return Out{sum(x[0])}; }, {Tensor(1.5f)}));
  rows.push_back(row("sum/one element", {Tensor{{2.5f}}}, [](In x) { return Out{sum(x[0], 1)}; },
                     {Tensor{2.5f}}));
  rows.push_back(row("sum/five axes", {kFiveAxes},
                     [](In x) {
                       return Out{sum(x[0], {1, 3})};
                     },
                     {Tensor{{{-1.5f, -6.0f}, {-1.5f, -6.0f}}, {{-1.5f, 6.0f}, {-1.5f, 6.0f}}}}));
  rows.push_back(values("sum/nan and infinity",
                        {Tensor{{1.0f, kNan, 2.0f}, {kInf, 3.0f, 1.0f}, {-kInf, kInf, 0.0f}}},
                        [](In x) { return Out{sum(x[0], 1)}; }, {Tensor{kNan, kInf, kNan}}));
  rows.push_back(row("sum/empty result", {Tensor(float32, {0, 3})},
                     [](In x) { return Out{sum(x[0], 1)}; }, {Tensor(float32, {0})}));
  rows.push_back(row("sum/of nothing", {Tensor(float32, {2, 0})},
                     [](In x) { return Out{sum(x[0], 1)}; }, {Tensor{0.0f, 0.0f}}));
  rows.push_back(values("sum/int32 wraps",
                        {elements<std::int32_t>({2, -3, 2147483647, 5}, {2, 2})},
                        [](In x) { return Out{sum(x[0], 0)}; }, {ints({-2147483647, 2})}));
  rows.push_back(values("sum/int64", {kLongs}, [](In x) { return Out{sum(x[0], 1)}; },
                        {longs({-9223372036854775805, 4})}));
  rows.push_back(float32_values("sum/huge float32", {Tensor{3.0e+38f, 3.0e+38f}},
                                [](In x) { return Out{sum(x[0])}; }, {Tensor(kInf)}));
}

void add_means(Rows& rows) {
  rows.push_back(
      row("mean/all", {kMatrix}, [](In x) { return Out{mean(x[0])}; }, {Tensor(1.0416666f)}));
  rows.push_back(row("mean/rows", {kMatrix}, [](In x) { return Out{mean(x[0], 1)}; },
                     {Tensor{-0.083333336f, 2.1666667f}}));
  rows.push_back(row("mean/columns", {kMatrix}, [](In x) { return Out{mean(x[0], 0)}; },
                     {Tensor{2.25f, -1.25f, 2.125f}}));
  rows.push_back(row("mean/negative axis", {kCube}, [](In x) { return Out{mean(x[0], -2)}; },
                     {Tensor{{0.625f, 1.0f, -0.5f, 2.5f},
                             {1.5f, 0.875f, 3.125f, 0.625f},
                             {1.8125f, -5.0f, 7.5f, -1.875f}}}));
  rows.push_back(row("mean/keep_dims", {kMatrix}, [](In x) { return Out{mean(x[0], -1, true)}; },
                     {Tensor{{-0.083333336f}, {2.1666667f}}}));
  rows.push_back(row("mean/outer and inner", {kCube},
                     [](In x) {
                       return Out{mean(x[0], {2, 0})};
                     },
                     {Tensor{0.28125f, 1.75f}}));
  rows.push_back(row("mean/outer and inner kept", {kCube},
                     [](In x) {
                       return Out{mean(x[0], {0, -1}, true)};
                     },
                     {Tensor{{{0.28125f}, {1.75f}}}}));
  rows.push_back(row("mean/all kept", {kMatrix},
                     [](In x) { return Out{mean(x[0], Axes(), true)}; }, {Tensor{{1.0416666f}}}));
  rows.push_back(row("mean/no axes", {kMatrix},
                     [](In x) { return Out{mean(x[0], std::vector<std::int64_t>())}; },
                     {kMatrix}));
  rows.push_back(
      row("mean/0-d", {Tensor(1.5f)}, [](In x) { return Out{mean(x[0])}; }, {Tensor(1.5f)}));
  rows.push_back(row("mean/one element", {Tensor{{2.5f}}},
                     [](In x) { return Out{mean(x[0], 1)}; }, {Tensor{2.5f}}));
  rows.push_back(
      row("mean/five axes", {kFiveAxes},
          [](In x) {
            return Out{mean(x[0], {1, 3})};
          },
          {Tensor{{{-0.125f, -0.5f}, {-0.125f, -0.5f}}, {{-0.125f, 0.5f}, {-0.125f, 0.5f}}}}));
  rows.push_back(values("mean/nan and infinity",
                        {Tensor{{1.0f, kNan, 2.0f}, {kInf, 3.0f, 1.0f}, {-kInf, kInf, 0.0f}}},
                        [](In x) { return Out{mean(x[0], 1)}; }, {Tensor{kNan, kInf, kNan}}));
  rows.push_back(row("mean/empty result", {Tensor(float32, {0, 3})},
                     [](In x) { return Out{mean(x[0], 1)}; }, {Tensor(float32, {0})}));
  rows.push_back(row("mean/of nothing", {Tensor(float32, {2, 0})},
                     [](In x) { return Out{mean(x[0], 1)}; }, {Tensor{kNan, kNan}}));
}

void add_products(Rows& rows) {
  rows.push_back(
      row("prod/all", {kMatrix}, [](In x) { return Out{prod(x[0])}; }, {Tensor(4.5f)}));
  rows.push_back(row("prod/rows", {kMatrix}, [](In x) { return Out{prod(x[0], 1)}; },
                     {Tensor{-0.75f, -6.0f}}));
  rows.push_back(row("prod/columns", {kMatrix}, [](In x) { return Out{prod(x[0], 0)}; },
                     {Tensor{4.5f, 1.0f, 1.0f}}));
  rows.push_back(row("prod/negative axis", {kCube}, [](In x) { return Out{prod(x[0], -2)}; },
                     {Tensor{{0.25f, -8.0f, -0.75f, 6.0f},
                             {-18.0f, -1.875f, 6.25f, -0.875f},
                             {0.4375f, 24.0f, 56.0f, 3.125f}}}));
  rows.push_back(row("prod/keep_dims", {kMatrix}, [](In x) { return Out{prod(x[0], -1, true)}; },
                     {Tensor{{-0.75f}, {-6.0f}}}));
  rows.push_back(row("prod/outer and inner", {kCube},
                     [](In x) {
                       return Out{prod(x[0], {2, 0})};
                     },
                     {Tensor{-123.046875f, 24806.25f}}));
  rows.push_back(row("prod/outer and inner kept", {kCube},
                     [](In x) {
                       return Out{prod(x[0], {0, -1}, true)};
                     },
                     {Tensor{{{-123.046875f}, {24806.25f}}}}));
  rows.push_back(row("prod/all kept", {kMatrix},
                     [](In x) { return Out{prod(x[0], Axes(), true)}; }, {Tensor{{4.5f}}}));
  rows.push_back(row("prod/no axes", {kMatrix},
                     [](In x) { return Out{prod(x[0], std::vector<std::int64_t>())}; },
                     {kMatrix}));
  rows.push_back(
      row("prod/0-d", {Tensor(1.5f)}, [](In x) { return Out{prod(x[0])}; }, {Tensor(1.5f)}));
  rows.push_back(row("prod/one element", {Tensor{{2.5f}}},
                     [](In x) { return Out{prod(x[0], 1)}; }, {Tensor{2.5f}}));
  rows.push_back(values("prod/nan and infinity",
                        {Tensor{{1.0f, kNan, 2.0f}, {kInf, 3.0f, 1.0f}, {-kInf, kInf, 0.0f}}},
                        [](In x) { return Out{prod(x[0], 1)}; }, {Tensor{kNan, kInf, kNan}}));
  rows.push_back(row("prod/empty result", {Tensor(float32, {0, 3})},
                     [](In x) { return Out{prod(x[0], 1)}; }, {Tensor(float32, {0})}));
  rows.push_back(row("prod/of nothing", {Tensor(float32, {2, 0})},
                     [](In x) { return Out{prod(x[0], 1)}; }, {Tensor{1.0f, 1.0f}}));
  rows.push_back(values("prod/int32 wraps",
                        {elements<std::int32_t>({2, -3, 2147483647, 5}, {2, 2})},
                        [](In x) { return Out{prod(x[0], 0)}; }, {ints({-2, -15})}));
  rows.push_back(values("prod/int64", {kLongs}, [](In x) { return Out{prod(x[0], 1)}; },
                        {longs({0, -126})}));
  rows.push_back(row("prod/zeros in rows",
                     {Tensor{{2.0f, 0.0f, -3.0f}, {0.0f, 4.0f, 0.0f}, {0.5f, 1.5f, -2.0f}}},
                     [](In x) { return Out{prod(x[0], 1)}; }, {Tensor{-0.0f, 0.0f, -1.5f}}));
  rows.push_back(row("prod/zeros in columns",
                     {Tensor{{2.0f, 0.0f, -3.0f}, {0.0f, 4.0f, 0.0f}, {0.5f, 1.5f, -2.0f}}},
                     [](In x) { return Out{prod(x[0], 0, true)}; },
                     {Tensor{{0.0f, 0.0f, 0.0f}}}));
  rows.push_back(row("prod/all zero", {Tensor{0.0f, 0.0f, 0.0f}},
                     [](In x) { return Out{prod(x[0])}; }, {Tensor(0.0f)}));
  rows.push_back(row("prod/zeros around a kept axis",
                     {Tensor{{{2.0f, 0.0f}, {1.5f, -1.0f}, {0.0f, 3.0f}},
                             {{1.0f, -2.0f}, {0.5f, 0.0f}, {4.0f, -1.5f}}}},
                     [](In x) {
                       return Out{prod(x[0], {0, 2})};
                     },
                     {Tensor{-0.0f, -0.0f, -0.0f}}));
}

void add_maxima(Rows& rows) {
  rows.push_back(row("max/all", {kMatrix}, [](In x) { return Out{max(x[0])}; }, {Tensor(4.0f)}));
  rows.push_back(
      row("max/rows", {kMatrix}, [](In x) { return Out{max(x[0], 1)}; }, {Tensor{1.5f, 4.0f}}));
  rows.push_back(row("max/columns", {kMatrix}, [](In x) { return Out{max(x[0], 0)}; },
                     {Tensor{3.0f, -0.5f, 4.0f}}));
  rows.push_back(row(
      "max/negative axis", {kCube}, [](In x) { return Out{max(x[0], -2)}; },
      {Tensor{
          {1.0f, 4.0f, 0.5f, 3.0f}, {6.0f, 2.5f, 5.0f, 1.75f}, {3.5f, -4.0f, 8.0f, -1.25f}}}));
  rows.push_back(row("max/keep_dims", {kMatrix}, [](In x) { return Out{max(x[0], -1, true)}; },
                     {Tensor{{1.5f}, {4.0f}}}));
  rows.push_back(row("max/outer and inner", {kCube},
                     [](In x) {
                       return Out{max(x[0], {2, 0})};
                     },
                     {Tensor{7.0f, 8.0f}}));
  rows.push_back(row("max/outer and inner kept", {kCube},
                     [](In x) {
                       return Out{max(x[0], {0, -1}, true)};
                     },
                     {Tensor{{{7.0f}, {8.0f}}}}));
  rows.push_back(row("max/all kept", {kMatrix}, [](In x) { return Out{max(x[0], Axes(), true)}; },
                     {Tensor{{4.0f}}}));
  rows.push_back(row("max/no axes", {kMatrix},
                     [](In x) { return Out{max(x[0], std::vector<std::int64_t>())}; },
                     {kMatrix}));
  rows.push_back(
      row("max/0-d", {Tensor(1.5f)}, [](In x) { return Out{max(x[0])}; }, {Tensor(1.5f)}));
  rows.push_back(row("max/one element", {Tensor{{2.5f}}}, [](In x) { return Out{max(x[0], 1)}; },
                     {Tensor{2.5f}}));
  rows.push_back(
      values("max/five axes", {kFiveAxes},
             [](In x) {
               return Out{max(x[0], {1, 3})};
             },
             {Tensor{{{5.25f, 5.125f}, {5.5f, 5.375f}}, {{5.75f, 5.875f}, {5.0f, 5.625f}}}}));
  rows.push_back(values("max/nan and infinity",
                        {Tensor{{1.0f, kNan, 2.0f}, {kInf, 3.0f, 1.0f}, {-kInf, kInf, 0.0f}}},
                        [](In x) { return Out{max(x[0], 1)}; }, {Tensor{kNan, kInf, kInf}}));
  rows.push_back(row("max/empty result", {Tensor(float32, {0, 3})},
                     [](In x) { return Out{max(x[0], 1)}; }, {Tensor(float32, {0})}));
  rows.push_back(values("max/int32", {elements<std::int32_t>({2, -3, 2147483647, 5}, {2, 2})},
                        [](In x) { return Out{max(x[0], 0)}; }, {ints({2147483647, 5})}));
  rows.push_back(values("max/int64", {kLongs}, [](In x) { return Out{max(x[0])}; },
                        {Tensor(std::int64_t{4611686018427387904})}));
  rows.push_back(values("max/uint8", {bytes({7, 255, 0})}, [](In x) { return Out{max(x[0])}; },
                        {Tensor(std::uint8_t{255})}));
  rows.push_back(values("max/nothing but infinity", {Tensor{-kInf, -kInf}},
                        [](In x) { return Out{max(x[0])}; }, {Tensor(-kInf)}));
}

void add_minima(Rows& rows) {
  rows.push_back(row("min/all", {kMatrix}, [](In x) { return Out{min(x[0])}; }, {Tensor(-2.0f)}));
  rows.push_back(
      row("min/rows", {kMatrix}, [](In x) { return Out{min(x[0], 1)}; }, {Tensor{-2.0f, -0.5f}}));
  rows.push_back(row("min/columns", {kMatrix}, [](In x) { return Out{min(x[0], 0)}; },
                     {Tensor{1.5f, -2.0f, 0.25f}}));
  rows.push_back(row("min/negative axis", {kCube}, [](In x) { return Out{min(x[0], -2)}; },
                     {Tensor{{0.25f, -2.0f, -1.5f, 2.0f},
                             {-3.0f, -0.75f, 1.25f, -0.5f},
                             {0.125f, -6.0f, 7.0f, -2.5f}}}));
  rows.push_back(row("min/keep_dims", {kMatrix}, [](In x) { return Out{min(x[0], -1, true)}; },
                     {Tensor{{-2.0f}, {-0.5f}}}));
  rows.push_back(row("min/outer and inner", {kCube},
                     [](In x) {
                       return Out{min(x[0], {2, 0})};
                     },
                     {Tensor{-4.0f, -6.0f}}));
  rows.push_back(row("min/outer and inner kept", {kCube},
                     [](In x) {
                       return Out{min(x[0], {0, -1}, true)};
                     },
                     {Tensor{{{-4.0f}, {-6.0f}}}}));
  rows.push_back(row("min/all kept", {kMatrix}, [](In x) { return Out{min(x[0], Axes(), true)}; },
                     {Tensor{{-2.0f}}}));
  rows.push_back(row("min/no axes", {kMatrix},
                     [](In x) { return Out{min(x[0], std::vector<std::int64_t>())}; },
                     {kMatrix}));
  rows.push_back(
      row("min/0-d", {Tensor(1.5f)}, [](In x) { return Out{min(x[0])}; }, {Tensor(1.5f)}));
  rows.push_back(row("min/one element", {Tensor{{2.5f}}}, [](In x) { return Out{min(x[0], 1)}; },
                     {Tensor{2.5f}}));
  rows.push_back(values(
      "min/five axes", {kFiveAxes},
      [](In x) {
        return Out{min(x[0], {1, 3})};
      },
      {Tensor{{{-6.0f, -5.625f}, {-5.75f, -5.875f}}, {{-5.5f, -5.375f}, {-5.25f, -5.125f}}}}));
  rows.push_back(values("min/nan and infinity",
                        {Tensor{{1.0f, kNan, 2.0f}, {kInf, 3.0f, 1.0f}, {-kInf, kInf, 0.0f}}},
                        [](In x) { return Out{min(x[0], 1)}; }, {Tensor{kNan, 1.0f, -kInf}}));
  rows.push_back(row("min/empty result", {Tensor(float32, {0, 3})},
                     [](In x) { return Out{min(x[0], 1)}; }, {Tensor(float32, {0})}));
  rows.push_back(values("min/int32", {elements<std::int32_t>({2, -3, 2147483647, 5}, {2, 2})},
                        [](In x) { return Out{min(x[0], 0)}; }, {ints({2, -3})}));
  rows.push_back(values("min/int64", {kLongs}, [](In x) { return Out{min(x[0])}; },
                        {Tensor(std::int64_t{-7})}));
  rows.push_back(values("min/uint8", {bytes({7, 255, 0})}, [](In x) { return Out{min(x[0])}; },
                        {Tensor(std::uint8_t{0})}));
  rows.push_back(values("min/nothing but infinity", {Tensor{kInf, kInf}},
                        [](In x) { return Out{min(x[0])}; }, {Tensor(kInf)}));
}

void add_indices(Rows& rows) {
  rows.push_back(values("argmax/rows", {kMatrix}, [](In x) { return Out{argmax(x[0], 1)}; },
                        {longs({0, 2})}));
  rows.push_back(values("argmax/columns", {kMatrix}, [](In x) { return Out{argmax(x[0], 0)}; },
                        {longs({1, 1, 1})}));
  rows.push_back(values("argmax/middle axis", {kCube}, [](In x) { return Out{argmax(x[0], -2)}; },
                        {elements<std::int64_t>({0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 1, 1}, {3, 4})}));
  rows.push_back(values("argmax/keep_dims", {kMatrix},
                        [](In x) { return Out{argmax(x[0], -1, true)}; },
                        {elements<std::int64_t>({0, 2}, {2, 1})}));
  rows.push_back(values("argmax/first of ties",
                        {Tensor{{2.0f, 5.0f, 5.0f, 2.0f}, {1.0f, 1.0f, 1.0f, 1.0f}}},
                        [](In x) { return Out{argmax(x[0], 1)}; }, {longs({1, 0})}));
  rows.push_back(values("argmax/nan and infinity",
                        {Tensor{{1.0f, kNan, kNan}, {kInf, -kInf, kInf}}},
                        [](In x) { return Out{argmax(x[0], 1)}; }, {longs({1, 0})}));
  rows.push_back(values("argmax/int64", {kLongs}, [](In x) { return Out{argmax(x[0], 1)}; },
                        {longs({0, 2})}));
  rows.push_back(values("argmax/uint8", {bytes({7, 255, 0})},
                        [](In x) { return Out{argmax(x[0], 0)}; }, {Tensor(std::int64_t{1})}));
  rows.push_back(values("argmax/empty result", {Tensor(float32, {0, 2})},
                        [](In x) { return Out{argmax(x[0], 1)}; }, {Tensor(int64, {0})}));
  rows.push_back(values("argmin/rows", {kMatrix}, [](In x) { return Out{argmin(x[0], 1)}; },
                        {longs({1, 1})}));
  rows.push_back(values("argmin/columns", {kMatrix}, [](In x) { return Out{argmin(x[0], 0)}; },
                        {longs({0, 0, 0})}));
  rows.push_back(values("argmin/middle axis", {kCube}, [](In x) { return Out{argmin(x[0], -2)}; },
                        {elements<std::int64_t>({1, 0, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0}, {3, 4})}));
  rows.push_back(values("argmin/keep_dims", {kMatrix},
                        [](In x) { return Out{argmin(x[0], -1, true)}; },
                        {elements<std::int64_t>({1, 1}, {2, 1})}));
  rows.push_back(values("argmin/first of ties",
                        {Tensor{{2.0f, 5.0f, 5.0f, 2.0f}, {1.0f, 1.0f, 1.0f, 1.0f}}},
                        [](In x) { return Out{argmin(x[0], 1)}; }, {longs({0, 0})}));
  rows.push_back(values("argmin/nan and infinity",
                        {Tensor{{1.0f, kNan, kNan}, {kInf, -kInf, kInf}}},
                        [](In x) { return Out{argmin(x[0], 1)}; }, {longs({1, 1})}));
  rows.push_back(values("argmin/int64", {kLongs}, [](In x) { return Out{argmin(x[0], 1)}; },
                        {longs({1, 0})}));
  rows.push_back(values("argmin/uint8", {bytes({7, 255, 0})},
                        [](In x) { return Out{argmin(x[0], 0)}; }, {Tensor(std::int64_t{2})}));
  rows.push_back(values("argmin/empty result", {Tensor(float32, {0, 2})},
                        [](In x) { return Out{argmin(x[0], 1)}; }, {Tensor(int64, {0})}));
}

}  // namespace

void add_reduction_rows(Rows& rows) {
  add_sums(rows);
  add_means(rows);
  add_products(rows);
  add_maxima(rows);
  add_minima(rows);
  add_indices(rows);
}

}  // namespace gradgraph::tests

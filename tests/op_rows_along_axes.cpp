#include "row_helpers.h"

/// What goes along axes: orders, picks, slices, running sums, and reductions made of others.
/// Values are NumPy's, or from reports to other frameworks.
namespace gradgraph::tests {
namespace {

const Tensor kMatrix = {{1.f, 2.f, 4.f}, {0.5f, -1.f, 3.f}};
const Tensor kEmpty(float32, {0, 3});
const Tensor kTies = {{3.f, 1.f, 3.f, 2.f}, {0.f, 0.f, -1.f, 0.f}};

void with_dtypes(Rows& rows, OpRow added, std::vector<DType> dtypes) {
  added.also = std::move(dtypes);
  rows.push_back(std::move(added));
}
const std::vector<DType> kAll = {float64, float16, int32, int64, uint8};
const std::vector<DType> kSigned = {float64, float16, bfloat16, int32, int64};

void add_movement_rows(Rows& rows) {
  const Tensor a = {{1.f, 2.f}, {3.f, 4.f}}, b = {{5.f, 6.f}, {7.f, 8.f}};
  with_dtypes(rows,
              row("stack/all_axes", {a, b},
                  [](In in) {
                    return Out{stack({in[0], in[1]}), stack({in[0], in[1]}, 1),
                               stack({in[0], in[1]}, -1)};
                  },
                  {Tensor{{{1.f, 2.f}, {3.f, 4.f}}, {{5.f, 6.f}, {7.f, 8.f}}},
                   Tensor{{{1.f, 2.f}, {5.f, 6.f}}, {{3.f, 4.f}, {7.f, 8.f}}},
                   Tensor{{{1.f, 5.f}, {2.f, 6.f}}, {{3.f, 7.f}, {4.f, 8.f}}}}),
              kAll);
  rows.push_back(row("stack/scalars", {Tensor(1.f), Tensor(2.f)},
                     [](In in) {
                       return Out{stack({in[0], in[1], in[0]})};
                     },
                     {Tensor{1.f, 2.f, 1.f}}));
  with_dtypes(rows,
              row("flip/axes", {a},
                  [](In in) {
                    return Out{flip(in[0]), flip(in[0], 0), flip(in[0], {-1})};
                  },
                  {Tensor{{4.f, 3.f}, {2.f, 1.f}}, Tensor{{3.f, 4.f}, {1.f, 2.f}},
                   Tensor{{2.f, 1.f}, {4.f, 3.f}}}),
              kAll);
  rows.push_back(
      row("flip/empty", {kEmpty}, [](In in) { return Out{flip(in[0], 1)}; }, {kEmpty}));
  rows.push_back(
      row("flip/scalar", {Tensor(2.f)}, [](In in) { return Out{flip(in[0])}; }, {Tensor(2.f)}));
  const Tensor ten = {0.f, 1.f, 2.f, 3.f, 4.f, 5.f, 6.f, 7.f, 8.f, 9.f};
  with_dtypes(rows,
              row("strided_slice/python", {ten},
                  [](In in) {
                    return Out{strided_slice(in[0], {{2, 9, 3}}),
                               strided_slice(in[0], {{.step = -4}}),
                               strided_slice(in[0], {{-2, 1, -3}}),
                               strided_slice(in[0], {{-100, 3}}),
                               strided_slice(in[0], {{8, 100, 1}}),
                               strided_slice(in[0], {{5, 2}}),
                               strided_slice(in[0], {{.end = -7, .step = -1}})};
                  },
                  {Tensor{2.f, 5.f, 8.f}, Tensor{9.f, 5.f, 1.f}, Tensor{8.f, 5.f, 2.f},
                   Tensor{0.f, 1.f, 2.f}, Tensor{8.f, 9.f}, Tensor(float32, {0}),
                   Tensor{9.f, 8.f, 7.f, 6.f, 5.f, 4.f}}),
              kAll);
  rows.push_back(row("strided_slice/huge_steps", {ten},
                     [](In in) {
                       return Out{strided_slice(in[0], {{.begin = 3, .step = kLongMin}}),
                                  strided_slice(in[0], {{.begin = 3, .step = -(kLongMin + 1)}}),
                                  strided_slice(in[0], {{kLongMin + 1, -(kLongMin + 1), 9}})};
                     },
                     {Tensor{3.f}, Tensor{3.f}, Tensor{0.f, 9.f}}));
  rows.push_back(row("strided_slice/axes", {kMatrix},
                     [](In in) {
                       return Out{strided_slice(in[0], {{.step = -1}, {.step = 2}}),
                                  strided_slice(in[0], {{1}}), strided_slice(in[0], {})};
                     },
                     {Tensor{{0.5f, 3.f}, {1.f, 4.f}}, Tensor{{0.5f, -1.f, 3.f}}, kMatrix}));
  rows.push_back(row("strided_slice/empty", {kEmpty},
                     [](In in) {
                       return Out{strided_slice(in[0], {{.step = -1}, {.step = 2}})};
                     },
                     {Tensor(float32, {0, 2})}));
  rows.push_back(row("strided_slice_grad/plain", {Tensor{1.f, 2.f}, ten},
                     [](In in) {
                       return Out{strided_slice_grad(shape_of(in[1]), in[0], {{7, 2, -3}})};
                     },
                     {Tensor{0.f, 0.f, 0.f, 0.f, 2.f, 0.f, 0.f, 1.f, 0.f, 0.f}}));
  rows.back().differentiable = {0};
  with_dtypes(rows,
              values("range/like", {kMatrix},
                     [](In in) {
                       Graph& graph = in[0].graph();
                       const Output count = slice(shape_of(in[0]), {1}, {1});
                       return Out{range(graph, count), range(graph, count, float32, 0.5, -0.25),
                                  range(graph, {0}, int32)};
                     },
                     {longs({0, 1, 2}), Tensor{0.5f, 0.25f, 0.f}, Tensor(int32, {0})}),
              {});
  with_dtypes(rows,
              values("range/limits", {kMatrix},
                     [](In in) {
                       Graph& graph = in[0].graph();
                       return Out{arange(graph, 2, 11, 3), arange(graph, 3, 0, -2, int32),
                                  arange(graph, 250, 256, 1, uint8),
                                  arange(graph, 0, 1, 0.25, float64), arange(graph, 1, 1)};
                     },
                     {longs({2, 5, 8}), ints({3, 1}), bytes({250, 251, 252, 253, 254, 255}),
                      Tensor{0., 0.25, 0.5, 0.75}, Tensor(int64, {0})}),
              {});
}

void add_order_rows(Rows& rows) {
  with_dtypes(rows,
              values("argsort/ties_keep_their_order", {kTies},
                     [](In in) {
                       return Out{argsort(in[0]), argsort(in[0], 1, true), argsort(in[0], 0)};
                     },
                     {Tensor{{1L, 3L, 0L, 2L}, {2L, 0L, 1L, 3L}},
                      Tensor{{0L, 2L, 3L, 1L}, {0L, 1L, 3L, 2L}},
                      Tensor{{1L, 1L, 1L, 1L}, {0L, 0L, 0L, 0L}}}),
              kSigned);
  with_dtypes(rows,
              values("argsort/bytes", {Tensor{3.f, 255.f, 0.f}},
                     [](In in) { return Out{argsort(in[0])}; }, {longs({2, 0, 1})}),
              {uint8});
  rows.push_back(values("argsort/nan_is_largest",
                        {Tensor{1.f, kNan, kInf, -kInf, kNan, -0.f, 0.f}},
                        [](In in) {
                          return Out{argsort(in[0]), argsort(in[0], 0, true)};
                        },
                        {longs({3, 5, 6, 0, 2, 1, 4}), longs({1, 4, 2, 0, 5, 6, 3})}));
  rows.push_back(values("argsort/empty", {kEmpty, Tensor(float32, {3, 0})},
                        [](In in) {
                          return Out{argsort(in[0]), argsort(in[1])};
                        },
                        {Tensor(int64, {0, 3}), Tensor(int64, {3, 0})}));
  rows.push_back(row(
      "sort/axes", {kMatrix},
      [](In in) {
        return Out{sort(in[0]), sort(in[0], 0, true)};
      },
      {Tensor{{1.f, 2.f, 4.f}, {-1.f, 0.5f, 3.f}}, Tensor{{1.f, 2.f, 4.f}, {0.5f, -1.f, 3.f}}}));
  rows.push_back(values("sort/nan", {Tensor{2.f, kNan, -kInf, 1.f}},
                        [](In in) {
                          return Out{sort(in[0]), sort(in[0], 0, true)};
                        },
                        {Tensor{-kInf, 1.f, 2.f, kNan}, Tensor{kNan, 2.f, 1.f, -kInf}}));
  rows.push_back(row("top_k/axes", {kMatrix},
                     [](In in) {
                       const TopK last = top_k(in[0], 2), first = top_k(in[0], 1, 0);
                       return Out{last.values, last.indices, first.values, first.indices};
                     },
                     {Tensor{{4.f, 2.f}, {3.f, 0.5f}}, Tensor{{2L, 1L}, {2L, 0L}},
                      Tensor{{1.f, 2.f, 4.f}}, Tensor{{0L, 0L, 0L}}}));
  // The order of sort.
  rows.push_back(values("top_k/nan_and_infinity", {Tensor{1.f, kNan, kInf, -kInf, 5.f}},
                        [](In in) {
                          const TopK top = top_k(in[0], 3);
                          return Out{top.values, top.indices};
                        },
                        {Tensor{kNan, kInf, 5.f}, longs({1, 2, 4})}));
  rows.push_back(values(
      "top_k/ties_and_none", {kTies},
      [](In in) {
        const TopK top = top_k(in[0], 2), none = top_k(in[0], 0);
        return Out{top.values, top.indices, none.values};
      },
      {Tensor{{3.f, 3.f}, {0.f, 0.f}}, Tensor{{0L, 2L}, {0L, 1L}}, Tensor(float32, {2, 0})}));
  const Tensor picks = {{2L, 0L, 2L}, {1L, 1L, 0L}};
  with_dtypes(rows,
              row("take_along_axis/columns", {kTies, Tensor{{2L, 0L}, {3L, 3L}}},
                  [](In in) { return Out{take_along_axis(in[0], in[1], 1)}; },
                  {Tensor{{3.f, 3.f}, {0.f, 0.f}}}),
              kSigned);
  rows.push_back(row("take_along_axis/rows", {kMatrix, Tensor{{1, 0, 1}}},
                     [](In in) { return Out{take_along_axis(in[0], in[1], 0)}; },
                     {Tensor{{0.5f, 2.f, 3.f}}}));
  rows.push_back(row("take_along_axis/empty", {kEmpty, Tensor(int64, {0, 2})},
                     [](In in) { return Out{take_along_axis(in[0], in[1], 1)}; },
                     {Tensor(float32, {0, 2})}));
  with_dtypes(rows,
              row("add_along_axis/columns", {kMatrix, picks},
                  [](In in) {
                    return Out{add_along_axis({2, 4}, in[1], in[0], 1)};
                  },
                  {Tensor{{2.f, 0.f, 5.f, 0.f}, {3.f, -0.5f, 0.f, 0.f}}}),
              {float64, float16});
}

void add_sum_rows(Rows& rows) {
  with_dtypes(
      rows,
      row("cumsum/kinds", {Tensor{{1.f, 2.f, 4.f}, {8.f, 16.f, 32.f}}},
          [](In in) {
            return Out{cumsum(in[0], 1), cumsum(in[0], -1, {.exclusive = true}),
                       cumsum(in[0], 1, {.reverse = true}),
                       cumsum(in[0], 1, {.exclusive = true, .reverse = true}), cumsum(in[0], 0)};
          },
          {Tensor{{1.f, 3.f, 7.f}, {8.f, 24.f, 56.f}}, Tensor{{0.f, 1.f, 3.f}, {0.f, 8.f, 24.f}},
           Tensor{{7.f, 6.f, 4.f}, {56.f, 48.f, 32.f}},
           Tensor{{6.f, 4.f, 0.f}, {48.f, 32.f, 0.f}},
           Tensor{{1.f, 2.f, 4.f}, {9.f, 18.f, 36.f}}}),
      kAll);
  rows.push_back(row("cumsum/empty", {kEmpty},
                     [](In in) {
                       return Out{cumsum(in[0], 0), cumsum(in[0], 1)};
                     },
                     {kEmpty, kEmpty}));
  rows.push_back(values("cumsum/nan", {Tensor{1.f, kNan, 2.f}},
                        [](In in) { return Out{cumsum(in[0], 0)}; }, {Tensor{1.f, kNan, kNan}}));
  rows.push_back(values("cumsum/integers_wrap", {ints({2147483647, 1})},
                        [](In in) { return Out{cumsum(in[0], 0)}; },
                        {ints({2147483647, -2147483647 - 1})}));
  const Tensor two_zeros = {{2.f, 0.f, 0.f, 3.f}, {-1.f, 4.f, 0.f, -2.f}};
  with_dtypes(
      rows,
      row("cumprod/kinds", {Tensor{{1.f, 2.f, 4.f}, {3.f, 5.f, 2.f}}},
          [](In in) {
            return Out{cumprod(in[0], 1), cumprod(in[0], -1, {.exclusive = true}),
                       cumprod(in[0], 1, {.reverse = true}),
                       cumprod(in[0], 1, {.exclusive = true, .reverse = true}),
                       cumprod(in[0], 0)};
          },
          {Tensor{{1.f, 2.f, 8.f}, {3.f, 15.f, 30.f}}, Tensor{{1.f, 1.f, 2.f}, {1.f, 3.f, 15.f}},
           Tensor{{8.f, 8.f, 4.f}, {30.f, 10.f, 2.f}}, Tensor{{8.f, 4.f, 1.f}, {10.f, 2.f, 1.f}},
           Tensor{{1.f, 2.f, 4.f}, {3.f, 10.f, 8.f}}}),
      kAll);
  // Derivatives at zeros, of first and second order.
  rows.push_back(row(
      "cumprod/zeros", {two_zeros},
      [](In in) {
        return Out{cumprod(in[0], 1), cumprod(in[0], 1, {.exclusive = true, .reverse = true})};
      },
      {Tensor{{2.f, 0.f, 0.f, 0.f}, {-1.f, -4.f, -0.f, 0.f}},
       Tensor{{0.f, 0.f, 3.f, 1.f}, {-0.f, -0.f, -2.f, 1.f}}}));
  rows.push_back(row("cumprod/gradient_of_a_gradient", {two_zeros},
                     [](In in) { return Out{gradients({sum(cumprod(in[0], 1))}, {in[0]})[0]}; },
                     {Tensor{{1.f, 2.f, 0.f, 0.f}, {5.f, -1.f, 4.f, 0.f}}}));
  rows.push_back(row("cumprod/empty", {kEmpty},
                     [](In in) {
                       return Out{cumprod(in[0], 0), cumprod(in[0], 1)};
                     },
                     {kEmpty, kEmpty}));
  rows.push_back(values("cumprod/nan", {Tensor{2.f, kNan, 0.f}},
                        [](In in) { return Out{cumprod(in[0], 0)}; }, {Tensor{2.f, kNan, kNan}}));
  rows.push_back(values("cumprod/integers_wrap", {ints({2147483647, 3})},
                        [](In in) { return Out{cumprod(in[0], 0)}; },
                        {ints({2147483647, 2147483645})}));
  rows.push_back(row(
      "linear_recurrence/kinds",
      {Tensor{{0.5f, 2.f, -1.f}, {0.f, 3.f, 0.25f}}, Tensor{{1.f, 2.f, 3.f}, {4.f, -1.f, 2.f}}},
      [](In in) {
        const CumulativeOptions back = {.exclusive = true, .reverse = true};
        return Out{linear_recurrence(in[0], in[1], 1),
                   linear_recurrence(in[0], in[1], 1, {.exclusive = true}),
                   linear_recurrence(in[0], in[1], -1, {.reverse = true}),
                   linear_recurrence(in[0], in[1], 1, back), linear_recurrence(in[0], in[1], 0)};
      },
      {Tensor{{1.f, 4.f, -1.f}, {4.f, 11.f, 4.75f}}, Tensor{{0.f, 1.f, 4.f}, {0.f, 4.f, 11.f}},
       Tensor{{5.f, 8.f, 3.f}, {4.f, 5.f, 2.f}}, Tensor{{8.f, 3.f, 0.f}, {5.f, 2.f, 0.f}},
       Tensor{{1.f, 2.f, 3.f}, {4.f, 5.f, 2.75f}}}));
  rows.push_back(row("linear_recurrence/empty", {kEmpty, kEmpty},
                     [](In in) { return Out{linear_recurrence(in[0], in[1], 0)}; }, {kEmpty}));
  rows.push_back(row(
      "logsumexp/axes", {kMatrix},
      [](In in) {
        return Out{logsumexp(in[0], 1), logsumexp(in[0], -1, true), logsumexp(in[0])};
      },
      {Tensor{4.1698460f, 3.0956743f}, Tensor{{4.1698460f}, {3.0956743f}}, Tensor(4.4636945f)}));
  rows.push_back(row("logsumexp/huge", {Tensor{{1000.f, 1000.f}, {-1000.f, -1000.f}}},
                     [](In in) { return Out{logsumexp(in[0], 1)}; },
                     {Tensor{1000.6931f, -999.30685f}}));
  // Of -inf alone: -inf, with the gradient 0.
  rows.push_back(values("logsumexp/infinities",
                        {Tensor{{-kInf, -kInf}, {0.f, -kInf}, {kInf, 1.f}, {kNan, 1.f}}},
                        [](In in) {
                          const Output y = logsumexp(in[0], 1);
                          const Output kept = slice(y, {0}, {2});
                          return Out{y, slice(gradients({kept}, {in[0]})[0], {0, 0}, {2, 2})};
                        },
                        {Tensor{-kInf, 0.f, kInf, kNan}, Tensor{{0.f, 0.f}, {1.f, 0.f}}}));
  rows.push_back(
      row("var/corrections", {kMatrix},
          [](In in) {
            return Out{var(in[0], 1), var(in[0], 0, false, 1), var(in[0]), var(in[0], 1, true)};
          },
          {Tensor{1.5555556f, 2.7222222f}, Tensor{0.125f, 4.5f, 0.5f}, Tensor(2.7013889f),
           Tensor{{1.5555556f}, {2.7222222f}}}));
  rows.push_back(values("var/one_element", {Tensor{{3.f}}},
                        [](In in) {
                          return Out{var(in[0], 1), var(in[0], 1, false, 1)};
                        },
                        {Tensor{0.f}, Tensor{kNan}}));
  rows.push_back(
      row("stddev/corrections", {kMatrix},
          [](In in) {
            return Out{stddev(in[0], 1), stddev(in[0], 0, false, 1), stddev(in[0]),
                       stddev(in[0], 1, true)};
          },
          {Tensor{1.2472191f, 1.6499158f}, Tensor{0.35355339f, 2.1213203f, 0.70710678f},
           Tensor(1.6435902f), Tensor{{1.2472191f}, {1.6499158f}}}));
  rows.push_back(values(
      "stddev/special", {Tensor{{3.f, kNan}, {kInf, 1.f}, {2.f, 2.f}}, Tensor(float32, {2, 0})},
      [](In in) {
        return Out{stddev(in[0], 1), stddev(in[0], 1, false, 2), stddev(in[1], 1)};
      },
      {Tensor{kNan, kNan, 0.f}, Tensor{kNan, kNan, kNan}, Tensor{kNan, kNan}}));
  const Tensor bits = Tensor{{1.f, 0.f, 1.f}, {0.f, 0.f, 0.f}, {1.f, 1.f, 1.f}}.cast(boolean);
  rows.push_back(values("any/axes", {bits},
                        [](In in) {
                          return Out{any_of(in[0], 1), any_of(in[0], 0, true), any_of(in[0])};
                        },
                        {Tensor{true, false, true}, Tensor{{true, true, true}}, Tensor(true)}));
  rows.push_back(
      values("all/axes", {bits},
             [](In in) {
               return Out{all_of(in[0], 1), all_of(in[0], 0, true), all_of(in[0])};
             },
             {Tensor{false, false, true}, Tensor{{false, false, false}}, Tensor(false)}));
  rows.push_back(values("any/of_nothing", {Tensor(boolean, {0, 2})},
                        [](In in) {
                          return Out{any_of(in[0], 0), all_of(in[0], 0)};
                        },
                        {Tensor{false, false}, Tensor{true, true}}));
}

}  // namespace

void add_along_axes_rows(std::vector<OpRow>& rows) {
  add_movement_rows(rows);
  add_order_rows(rows);
  add_sum_rows(rows);
}

}  // namespace gradgraph::tests

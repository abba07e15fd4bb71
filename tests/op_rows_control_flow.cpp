#include "row_helpers.h"

namespace gradgraph::tests {
namespace {

const Tensor kYes(true), kNo(false);
const Tensor kX{0.5f, -1.f, 2.f};

/// x^2 + y, or y * x^3 + 3 x.
Out polynomials(In in) {
  const Output x = in[1], y = in[2];
  return {cond(
      in[0], [&] { return x * x + y; }, [&] { return y * (x * x * x) + 3 * x; })};
}

/// The first branch does without y, the second without x.
Out one_of_two(In in) {
  return {cond(
      in[0], [&] { return in[1] * square(in[1]); }, [&] { return exp(in[2]); })};
}

/// A choice in a choice: x * y, x + y or x * x, twice.
Out nested(In in) {
  const Output x = in[2], y = in[3];
  const Output chosen = cond(
      in[0],
      [&] {
        return 2 * cond(
                       in[1], [&] { return x * y; }, [&] { return x + y; });
      },
      [&] { return 2 * (x * x); });
  return {chosen};
}

/// By values, of two results and an integer.
Out by_value(In in) {
  const Output x = in[0];
  return cond(
      less(sum(x), 0),
      [&] {
        return Out{x * x, sum(x), argmin(x, 0)};
      },
      [&] {
        return Out{sin(x), sum(x * x), argmax(x, 0)};
      });
}

/// A value from outside as it is, or a product of matrices.
Out passed_on(In in) {
  return {cond(
      in[0], [&] { return in[1]; }, [&] { return matmul(in[1], in[1]); })};
}

}  // namespace

void add_control_flow_rows(Rows& rows) {
  const Tensor y{2.f, 0.25f, -1.f};
  rows.push_back(row("cond/then", {kYes, kX, y}, polynomials, {Tensor{2.25f, 1.25f, 3.f}}));
  rows.push_back(row("cond/else", {kNo, kX, y}, polynomials, {Tensor{1.75f, -3.25f, -2.f}}));
  rows.push_back(
      row("cond/broadcast", {kYes, kX, Tensor(1.f)}, polynomials, {Tensor{1.25f, 2.f, 5.f}}));
  rows.push_back(row("cond/0-d", {kNo, Tensor(2.f), Tensor(0.5f)}, polynomials, {Tensor(10.f)}));
  rows.push_back(row("cond/empty", {kNo, Tensor(float32, {0, 3}), Tensor(float32, {0, 3})},
                     polynomials, {Tensor(float32, {0, 3})}));
  rows.push_back(row("cond/without_y", {kYes, kX, y}, one_of_two, {Tensor{0.125f, -1.f, 8.f}}));
  rows.push_back(row("cond/without_x", {kNo, kX, y}, one_of_two,
                     {Tensor{7.3890561f, 1.2840254f, 0.36787944f}}));
  rows.push_back(
      row("cond/nested_then", {kYes, kYes, kX, y}, nested, {Tensor{2.f, -0.5f, -4.f}}));
  rows.push_back(row("cond/nested_else", {kYes, kNo, kX, y}, nested, {Tensor{5.f, -1.5f, 2.f}}));
  rows.push_back(row("cond/outer_else", {kNo, kNo, kX, y}, nested, {Tensor{0.5f, 2.f, 8.f}}));
  rows.push_back(row(
      "cond/by_value", {kX}, by_value,
      {Tensor{0.47942554f, -0.84147098f, 0.90929743f}, Tensor(5.25f), Tensor(std::int64_t{2})}));
  rows.push_back(row("cond/by_negative_value", {Tensor{0.5f, -3.f, 1.f}}, by_value,
                     {Tensor{0.25f, 9.f, 1.f}, Tensor(-1.5f), Tensor(std::int64_t{1})}));
  const Tensor matrix{{1.f, 2.f}, {3.f, 4.f}};
  rows.push_back(row("cond/passed_on", {kYes, matrix}, passed_on, {matrix}));
  rows.push_back(
      row("cond/matmul", {kNo, matrix}, passed_on, {Tensor{{7.f, 10.f}, {15.f, 22.f}}}));
}

}  // namespace gradgraph::tests

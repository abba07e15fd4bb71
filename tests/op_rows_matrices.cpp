#include <fmt/format.h>

#include "row_helpers.h"

/// Products by the names of axes, lengths, and parts of matrices. Values are NumPy's.
namespace gradgraph::tests {
namespace {

const Tensor kMatrix = {{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}};
const Tensor kSquare = {{4.f, 1.f, -2.f}, {0.5f, 3.f, 1.f}, {-1.f, 2.f, 5.f}};
const Tensor kSides = {{1.f, 2.f}, {3.f, -4.f}, {0.5f, 1.f}};
const Tensor kBatch = {{{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}},
                       {{-2.f, -4.f, -6.f}, {-8.f, -10.f, -12.f}}};

OpRow einsum_row(const char* equation, Values inputs, Tensor expected) {
  return row(fmt::format("einsum/{}", equation), std::move(inputs),
             [equation](In in) { return Out{einsum(equation, in, {})}; }, {std::move(expected)});
}

void add_einsum_rows(Rows& rows) {
  rows.push_back(einsum_row("ij,jk->ki", {kMatrix, kSides}, Tensor{{8.5f, 22.f}, {-3.f, -6.f}}));
  rows.push_back(
      einsum_row("bij , kj -> bik", {kBatch, kMatrix},
                 Tensor{{{14.f, 32.f}, {32.f, 77.f}}, {{-28.f, -64.f}, {-64.f, -154.f}}}));
  rows.push_back(
      einsum_row("bij,bkj->bik", {kBatch, kBatch},
                 Tensor{{{14.f, 32.f}, {32.f, 77.f}}, {{56.f, 128.f}, {128.f, 308.f}}}));
  rows.push_back(einsum_row("ij,ij->i", {kMatrix, kMatrix}, Tensor{14.f, 77.f}));
  rows.push_back(einsum_row("ij,ij->", {kMatrix, kMatrix}, Tensor(91.f)));
  rows.push_back(einsum_row("ij->j", {kMatrix}, Tensor{5.f, 7.f, 9.f}));
  rows.push_back(einsum_row("i,j->ij", {Tensor{1.f, 2.f, 3.f}, Tensor{1.f, 3.f, 0.5f}},
                            Tensor{{1.f, 3.f, 0.5f}, {2.f, 6.f, 1.f}, {3.f, 9.f, 1.5f}}));
  rows.push_back(einsum_row("...ij,jk->...ik", {kBatch, kSides},
                            Tensor{{{8.5f, -3.f}, {22.f, -6.f}}, {{-17.f, 6.f}, {-44.f, 12.f}}}));
  rows.push_back(einsum_row("...,...", {kMatrix, kBatch},
                            Tensor{{{1.f, 4.f, 9.f}, {16.f, 25.f, 36.f}},
                                   {{-2.f, -8.f, -18.f}, {-32.f, -50.f, -72.f}}}));
  rows.push_back(einsum_row("ij,jk,kl->il", {kMatrix, kSquare, kSides},
                            Tensor{{48.5f, -33.f}, {119.f, -72.f}}));
  rows.push_back(einsum_row("bij,cdj->bcid", {kBatch, kBatch},
                            Tensor::from<float>({14, 32, 32, 77, -28, -64, -64, -154, -28, -64,
                                                 -64, -154, 56, 128, 128, 308},
                                                {2, 2, 2, 2})));
  rows.push_back(
      einsum_row("ba,ac", {kMatrix, kSquare}, Tensor{{2.f, 13.f, 15.f}, {12.5f, 31.f, 27.f}}));
  // A diagonal needs to know that its axes have one size.
  for (const char* equation : {"ii", "ii->i"}) {
    rows.push_back(
        einsum_row(equation, {kSquare}, equation[2] == 0 ? Tensor(12.f) : Tensor{4.f, 3.f, 5.f}));
    rows.back().unknown_dims = false;
  }
  rows.push_back(values("einsum/nothing_to_sum",
                        {Tensor(float32, {2, 0}), Tensor(float32, {0, 3})},
                        [](In in) { return Out{einsum("ij,jk->ik", in, {})}; },
                        {Tensor::full(float32, {2, 3}, 0)}));
  rows.push_back(values("einsum/room_for_products", {Tensor{300.f, 300.f}, Tensor{300.f, -298.f}},
                        [](In in) { return Out{einsum("i,i->", in, {})}; }, {Tensor(600.f)}));
  rows.push_back(values("einsum/integers", {longs({2, 3}), longs({1LL << 60, 5})},
                        [](In in) { return Out{einsum("i,i->i", in, {})}; },
                        {longs({1LL << 61, 15})}));
}

void add_length_rows(Rows& rows) {
  rows.push_back(
      row("norm/all", {kSides}, [](In in) { return Out{norm(in[0])}; }, {Tensor(5.5901699f)}));
  rows.push_back(row("norm/rows", {kSides}, [](In in) { return Out{norm(in[0], 1, true)}; },
                     {Tensor{{2.236068f}, {5.f}, {1.118034f}}}));
  rows.push_back(
      values("norm/gradient_at_0", {Tensor{{0.f, 0.f}, {3.f, -4.f}, {kInf, 0.f}}},
             with_gradient([](In in) { return Out{norm(in[0], 1)}; }),
             {Tensor{0.f, 5.f, kInf}, Tensor{{0.f, 0.f}, {0.6f, -0.8f}, {kNan, 0.f}}}));
  rows.push_back(
      row("l2_normalize/rows", {kSides}, [](In in) { return Out{l2_normalize(in[0])}; },
          {Tensor{{0.4472136f, 0.89442719f}, {0.6f, -0.8f}, {0.4472136f, 0.89442719f}}}));
  rows.push_back(values("l2_normalize/short", {Tensor{{0.f, 0.f}, {3e-4f, -4e-4f}}},
                        [](In in) { return Out{l2_normalize(in[0], -1, 1e-2)}; },
                        {Tensor{{0.f, 0.f}, {0.03f, -0.04f}}}));
  rows.push_back(row("cosine_similarity/broadcast", {Tensor{{1.f, 2.f, -1.f}}, kSquare},
                     [](In in) { return Out{cosine_similarity(in[0], in[1])}; },
                     {Tensor{0.71269665f, 0.70133438f, -0.1490712f}}));
  rows.push_back(row("cosine_similarity/of_two_ranks", {kMatrix, Tensor{1.f, 2.f, -1.f}},
                     [](In in) { return Out{cosine_similarity(in[0], in[1], 1)}; },
                     {Tensor{0.21821789f, 0.37219368f}}));
  // Squares that float16 has no room for, and lengths that it has.
  rows.push_back(
      values("norm/room_for_squares", {Tensor{{300.f, 400.f}, {-300.f, 400.f}}},
             [](In in) {
               return Out{norm(in[0], 1), l2_normalize(in[0]), cosine_similarity(in[0], in[0])};
             },
             {Tensor{500.f, 500.f}, Tensor{{0.6f, 0.8f}, {-0.6f, 0.8f}}, Tensor{1.f, 1.f}}));
  rows.push_back(values("l2_normalize/gradient_of_nothing", {Tensor{0.f, 0.f}},
                        [](In in) {
                          const Output y = l2_normalize(in[0], 0, 1e-3);
                          return Out{y, gradients({sum(y)}, {in[0]})[0]};
                        },
                        {Tensor{0.f, 0.f}, Tensor{1000.f, 1000.f}}));
  rows.push_back(values("cosine_similarity/of_nothing", {Tensor{0.f, 0.f}, Tensor{1.f, 2.f}},
                        [](In in) { return Out{cosine_similarity(in[0], in[1], 0)}; },
                        {Tensor(0.f)}));
}

void add_part_rows(Rows& rows) {
  rows.push_back(row("matrix_transpose/batch", {kBatch}, of(matrix_transpose),
                     {Tensor{{{1.f, 4.f}, {2.f, 5.f}, {3.f, 6.f}},
                             {{-2.f, -8.f}, {-4.f, -10.f}, {-6.f, -12.f}}}}));
  rows.push_back(values(
      "eye/wide_and_square", {kMatrix},
      [](In in) {
        Graph& graph = in[0].graph();
        return Out{in[0] * eye(graph, 2, 3, in[0].dtype()), eye(graph, 2, {}, int64),
                   eye(graph, 0, {}, in[0].dtype()), eye(graph, 2, 1, boolean)};
      },
      {Tensor{{1.f, 0.f, 0.f}, {0.f, 5.f, 0.f}}, elements<std::int64_t>({1, 0, 0, 1}, {2, 2}),
       Tensor(float32, {0, 0}), Tensor{true, false}.reshaped({2, 1})}));
  rows.push_back(row(
      "diag/vectors", {kSides}, of(diag),
      {Tensor{{{1.f, 0.f}, {0.f, 2.f}}, {{3.f, 0.f}, {0.f, -4.f}}, {{0.5f, 0.f}, {0.f, 1.f}}}}));
  rows.push_back(row("diagonal/main_and_others", {kMatrix},
                     [](In in) {
                       return Out{diagonal(in[0]),     diagonal(in[0], 1), diagonal(in[0], 2),
                                  diagonal(in[0], -1), diagonal(in[0], 3), diagonal(in[0], -7)};
                     },
                     {Tensor{1.f, 5.f}, Tensor{2.f, 6.f}, Tensor{3.f}, Tensor{4.f},
                      Tensor(float32, {0}), Tensor(float32, {0})}));
  rows.push_back(row("diagonal/batch", {kBatch}, [](In in) { return Out{diagonal(in[0], 1)}; },
                     {Tensor{{2.f, 6.f}, {-4.f, -12.f}}}));
  rows.push_back(row("trace/batch", {kBatch}, of(trace), {Tensor{6.f, -12.f}}));
  rows.push_back(row("tril/some", {kSquare},
                     [](In in) {
                       return Out{tril(in[0]), tril(in[0], 1), tril(in[0], -1), tril(in[0], -3)};
                     },
                     {Tensor{{4.f, 0.f, 0.f}, {0.5f, 3.f, 0.f}, {-1.f, 2.f, 5.f}},
                      Tensor{{4.f, 1.f, 0.f}, {0.5f, 3.f, 1.f}, {-1.f, 2.f, 5.f}},
                      Tensor{{0.f, 0.f, 0.f}, {0.5f, 0.f, 0.f}, {-1.f, 2.f, 0.f}},
                      Tensor::full(float32, {3, 3}, 0)}));
  rows.push_back(row("triu/some", {kMatrix},
                     [](In in) {
                       return Out{triu(in[0]), triu(in[0], 1), triu(in[0], -1)};
                     },
                     {Tensor{{1.f, 2.f, 3.f}, {0.f, 5.f, 6.f}},
                      Tensor{{0.f, 2.f, 3.f}, {0.f, 0.f, 6.f}}, kMatrix}));
  // What is cut off is not looked at, and truths have parts, too.
  rows.push_back(values(
      "tril/nan", {Tensor{{1.f, kNan}, {kInf, -0.f}}},
      [](In in) {
        return Out{tril(in[0]), tril(is_nan(in[0], {}), 1, {})};
      },
      {Tensor{{1.f, 0.f}, {kInf, -0.f}}, Tensor{false, true, false, false}.reshaped({2, 2})}));
  rows.push_back(row("unstack/columns", {kMatrix}, [](In in) { return unstack(in[0], -1); },
                     {Tensor{1.f, 4.f}, Tensor{2.f, 5.f}, Tensor{3.f, 6.f}}));
  rows.back().unknown_dims = false;
}

}  // namespace

void add_matrix_rows(std::vector<OpRow>& rows) {
  add_einsum_rows(rows);
  add_length_rows(rows);
  add_part_rows(rows);
}

}  // namespace gradgraph::tests

#include "row_helpers.h"

/// Values are NumPy's. Signs of eigenvectors and singular vectors are LAPACK's choice, so rows
/// look at squares.
namespace gradgraph::tests {
namespace {

const Tensor kSquare = {{4.f, 1.f, -2.f}, {0.5f, 3.f, 1.f}, {-1.f, 2.f, 5.f}};
const Tensor kSides = {{1.f, 2.f}, {3.f, -4.f}, {0.5f, 1.f}};
const Tensor kInverse = {{0.32098765f, -0.22222222f, 0.17283951f},
                         {-0.086419753f, 0.44444444f, -0.12345679f},
                         {0.098765432f, -0.22222222f, 0.28395062f}};

/// Symmetric and positive definite.
Output symmetric(Output x) { return matmul(x, x, {.transpose_b = true}); }
Output batch(Output x) { return stack({x, x * 2}); }

Output squares(Output x) { return square(x, SourceLocation::current()); }

void add_solving_rows(Rows& rows) {
  rows.push_back(row("inverse/one", {kSquare}, of(inverse), {kInverse}));
  rows.push_back(row("inverse/batch",
                     {Tensor{{{2.f, 0.f}, {0.f, 4.f}}, {{1.f, 2.f}, {3.f, 4.f}}}}, of(inverse),
                     {Tensor{{{0.5f, 0.f}, {0.f, 0.25f}}, {{-2.f, 1.f}, {1.5f, -0.5f}}}}));
  rows.push_back(row("inverse/empty", {Tensor(float32, {0, 3, 3})}, of(inverse),
                     {Tensor(float32, {0, 3, 3})}));
  rows.push_back(row("inverse/of_0_rows", {Tensor(float32, {2, 0, 0})}, of(inverse),
                     {Tensor(float32, {2, 0, 0})}));
  const auto solved = [](In in) { return Out{solve(in[0], in[1])}; };
  rows.push_back(row(
      "solve/one", {kSquare, kSides}, solved,
      {Tensor{
          {-0.25925926f, 1.7037037f}, {1.1851852f, -2.0740741f}, {-0.42592593f, 1.3703704f}}}));
  rows.push_back(row("solve/batch",
                     {Tensor{{{2.f, 0.f}, {0.f, 4.f}}, {{1.f, 2.f}, {3.f, 4.f}}},
                      Tensor{{{2.f}, {2.f}}, {{1.f}, {1.f}}}},
                     solved, {Tensor{{{1.f}, {0.5f}}, {{-1.f}, {1.f}}}}));
  rows.push_back(row("solve/broadcast",
                     {Tensor{{2.f, 0.f}, {0.f, 4.f}}, Tensor{{{2.f}, {2.f}}, {{1.f}, {8.f}}}},
                     solved, {Tensor{{{1.f}, {0.5f}}, {{0.5f}, {2.f}}}}));
  rows.back().unknown_dims = false;
  rows.push_back(row("solve/no_columns", {kSquare, Tensor(float32, {3, 0})}, solved,
                     {Tensor(float32, {3, 0})}));
  rows.push_back(row("det/one", {kSquare}, of(det), {Tensor(40.5f)}));
  rows.push_back(row("det/batch", {Tensor{{{0.f, 2.f}, {3.f, 0.f}}, {{1.f, 2.f}, {3.f, 4.f}}}},
                     of(det), {Tensor{-6.f, -2.f}}));
  rows.push_back(values("det/singular",
                        {Tensor{{{1.f, 2.f}, {2.f, 4.f}}, {{kNan, 0.f}, {0.f, 1.f}}}}, of(det),
                        {Tensor{0.f, kNan}}));
  rows.push_back(
      values("det/of_0_rows", {Tensor(float32, {2, 0, 0})}, of(det), {Tensor{1.f, 1.f}}));
  rows.push_back(row("logdet/signs", {Tensor{{{0.f, 2.f}, {3.f, 0.f}}, {{4.f, 3.f}, {2.f, 1.f}}}},
                     [](In in) {
                       const LogDet d = logdet(in[0]);
                       return Out{d.sign, d.logarithm};
                     },
                     {Tensor{-1.f, -1.f}, Tensor{1.7917595f, 0.69314718f}}));
  rows.push_back(float32_values("logdet/no_overflow", {Tensor{{1e30f, 0.f}, {0.f, 1e30f}}},
                                [](In in) {
                                  const LogDet d = logdet(in[0]);
                                  return Out{d.sign, d.logarithm};
                                },
                                {Tensor(1.f), Tensor(138.15511f)}));
  rows.push_back(values("logdet/singular", {Tensor{{1.f, 2.f}, {2.f, 4.f}}},
                        [](In in) {
                          const LogDet d = logdet(in[0]);
                          return Out{d.sign, d.logarithm};
                        },
                        {Tensor(0.f), Tensor(-kInf)}));
}

void add_decomposition_rows(Rows& rows) {
  rows.push_back(row("cholesky/one", {kSquare},
                     [](In in) { return Out{cholesky(symmetric(in[0]))}; },
                     {Tensor{{4.5825757f, 0.f, 0.f},
                             {0.65465367f, 3.1339159f, 0.f},
                             {-2.6186147f, 3.8974517f, 2.8200580f}}}));
  rows.push_back(
      row("cholesky/batch", {Tensor{{2.f, 0.f}, {1.f, 1.f}}},
          [](In in) { return Out{cholesky(batch(symmetric(in[0])))}; },
          {Tensor{{{2.f, 0.f}, {1.f, 1.f}}, {{2.8284271f, 0.f}, {1.4142136f, 1.4142136f}}}}));
  rows.push_back(row("eigh/one", {kSquare},
                     [](In in) {
                       const Eigh e = eigh(symmetric(in[0]));
                       return Out{e.values, squares(e.vectors)};
                     },
                     {Tensor{2.1515858f, 19.022529f, 40.075885f},
                      Tensor{{0.18017290f, 0.58152031f, 0.23830679f},
                             {0.59532246f, 0.34430130f, 0.060376235f},
                             {0.22450464f, 0.07417839f, 0.70131697f}}}));
  rows.push_back(
      row("eigh/values_alone", {kSquare},
          [](In in) { return Out{eigh(batch(symmetric(in[0]))).values}; },
          {Tensor{{2.1515858f, 19.022529f, 40.075885f}, {4.3031716f, 38.045058f, 80.15177f}}}));
  rows.push_back(values("eigh/not_finite", {Tensor{{1.f, kNan}, {kNan, 1.f}}},
                        [](In in) {
                          const Eigh e = eigh(in[0]);
                          return Out{e.values, e.vectors};
                        },
                        {Tensor{kNan, kNan}, Tensor{{kNan, kNan}, {kNan, kNan}}}));
  const auto both = [](In in) {
    const Qr result = qr(in[0]);
    return Out{result.q, result.r};
  };
  rows.push_back(row("qr/tall", {kSides}, both,
                     {Tensor{{-0.31234752f, 0.83811635f},
                             {-0.93704257f, -0.34921515f},
                             {-0.15617376f, 0.41905818f}},
                      Tensor{{-3.2015621f, 2.9673015f}, {0.f, 3.4921515f}}}));
  rows.push_back(row("qr/wide", {Tensor{{1.f, 3.f, 0.5f}, {2.f, -4.f, 1.f}}}, both,
                     {Tensor{{-0.44721360f, -0.89442719f}, {-0.89442719f, 0.44721360f}},
                      Tensor{{-2.2360680f, 2.2360680f, -1.1180340f}, {0.f, -4.4721360f, 0.f}}}));
  for (auto at = rows.end() - 2; at != rows.end(); ++at) at->unknown_dims = false;
  rows.push_back(values("qr/empty", {Tensor(float32, {2, 3, 0})}, both,
                        {Tensor(float32, {2, 3, 0}), Tensor(float32, {2, 0, 0})}));
  const auto parts = [](In in) {
    const Svd result = svd(in[0]);
    return Out{squares(result.u), result.s, squares(result.vt),
               matmul(result.u * expand_dims(result.s, -2), result.vt)};
  };
  rows.push_back(row(
      "svd/tall", {kSides}, parts,
      {Tensor{{0.056440999f, 0.743559f}, {0.92944875f, 0.070551249f}, {0.01411025f, 0.18588975f}},
       Tensor{5.1517139f, 2.1702176f},
       Tensor{{0.25378272f, 0.74621728f}, {0.74621728f, 0.25378272f}}, kSides}));
  rows.push_back(row(
      "svd/wide", {Tensor{{1.f, 3.f, 0.5f}, {2.f, -4.f, 1.f}}}, parts,
      {Tensor{{0.25378272f, 0.74621728f}, {0.74621728f, 0.25378272f}},
       Tensor{5.1517139f, 2.1702176f},
       Tensor{{0.056440999f, 0.92944875f, 0.01411025f}, {0.743559f, 0.070551249f, 0.18588975f}},
       Tensor{{1.f, 3.f, 0.5f}, {2.f, -4.f, 1.f}}}));
  rows.push_back(row("svd/values_alone", {kSides}, [](In in) { return Out{svd(batch(in[0])).s}; },
                     {Tensor{{5.1517139f, 2.1702176f}, {10.303428f, 4.3404352f}}}));
  rows.push_back(values("svd/not_finite", {Tensor{{1.f, kInf}}},
                        [](In in) { return Out{svd(in[0]).s}; }, {Tensor{kNan}}));
}

}  // namespace

void add_linalg_rows(std::vector<OpRow>& rows) {
  add_solving_rows(rows);
  add_decomposition_rows(rows);
}

}  // namespace gradgraph::tests

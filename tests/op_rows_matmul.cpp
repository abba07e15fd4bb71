#include "golden_rows.h"

namespace gradgraph::tests {

void add_matmul_rows(std::vector<OpRow>& rows) {
  const auto product = [](const std::vector<Output>& in) -> std::vector<Output> {
    return {matmul(in[0], in[1])};
  };
  rows.push_back({.name = "matmul/literal",
                  .inputs = {Tensor{{1.f, 2.f}, {3.f, 4.f}}, Tensor{{5.f, 6.f}, {7.f, 8.f}}},
                  .build = product,
                  .expected = {Tensor{{19.f, 22.f}, {43.f, 50.f}}},
                  .also = {float64, int32, int64}});
  rows.push_back({.name = "matmul/integers_transposed",
                  .inputs = {Tensor{{1, 2}, {3, 4}}, Tensor{{5, 6}, {7, 8}}},
                  .build = [](const std::vector<Output>& in) -> std::vector<Output> {
                    return {matmul(in[0], in[1], {.transpose_a = true}),
                            matmul(in[0], in[1], {.transpose_b = true}),
                            matmul(in[0], in[1], {.transpose_a = true, .transpose_b = true})};
                  },
                  .expected = {Tensor{{26, 30}, {38, 44}}, Tensor{{17, 23}, {39, 53}},
                               Tensor{{23, 31}, {34, 46}}},
                  .gradient = false});
  rows.push_back({.name = "matmul/integer_batches",
                  .inputs = {Tensor{{{1L, 2L}}, {{3L, 4L}}}, Tensor{{{1L}, {10L}}}},
                  .build = product,
                  .expected = {Tensor{{{21L}}, {{43L}}}},
                  .gradient = false});
  add_golden_rows(rows, "matmul", [](const std::vector<Output>& in, const GoldenOptions& o) {
    return matmul(in[0], in[1],
                  {.transpose_a = o.number("transpose_a", 0) != 0,
                   .transpose_b = o.number("transpose_b", 0) != 0});
  });
}

}  // namespace gradgraph::tests

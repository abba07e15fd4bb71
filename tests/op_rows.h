#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// The table of op tests: a row builds a small graph, those who go through the table do the rest.
namespace gradgraph::tests {

struct OpRow {
  std::string name;  ///< "add/broadcast": the op, then what is special
  std::vector<Tensor> inputs;
  std::function<std::vector<Output>(const std::vector<Output>& inputs)> build;
  /// From NumPy or PyTorch, one per output of `build`.
  std::vector<Tensor> expected;

  /// Largest |actual - expected| / max(1, |expected|) in float32; float64 has 1e-12 unless the
  /// expected values were themselves written with fewer digits (then this too).
  double tolerance = 1e-5;
  /// Checks of first and second order, by central differences in float64, at `inputs`, which must
  /// stay away from kinks. Off only for outputs without a gradient.
  bool gradient = true;
  /// Float inputs that take part in the gradient check; empty means all of them.
  std::vector<int> differentiable = {};
  /// float32 inputs are also tried as these, when the values fit; expected is converted. With
  /// float16 and bfloat16 results may be off by four units, since a row may have several ops.
  std::vector<DType> also = {float64, float16, bfloat16};
  /// The row is repeated with all dimensions unknown; off for ops that must know some.
  bool unknown_dims = true;
};

/// Rows by family, each in op_rows_<family>.cpp.
void add_elementwise_rows(std::vector<OpRow>& rows);
void add_activation_rows(std::vector<OpRow>& rows);
void add_reduction_rows(std::vector<OpRow>& rows);
void add_matmul_rows(std::vector<OpRow>& rows);
void add_convolution_rows(std::vector<OpRow>& rows);
void add_nn_rows(std::vector<OpRow>& rows);
void add_along_axes_rows(std::vector<OpRow>& rows);
void add_loss_rows(std::vector<OpRow>& rows);
void add_linalg_rows(std::vector<OpRow>& rows);
void add_matrix_rows(std::vector<OpRow>& rows);
void add_array_rows(std::vector<OpRow>& rows);
void add_edge_case_rows(std::vector<OpRow>& rows);
void add_control_flow_rows(std::vector<OpRow>& rows);

struct RowFamily {
  const char* name;
  void (*add)(std::vector<OpRow>&);
};
constexpr RowFamily kRowFamilies[] = {
    {"elementwise", add_elementwise_rows},
    {"activation", add_activation_rows},
    {"reduction", add_reduction_rows},
    {"matmul", add_matmul_rows},
    {"convolution", add_convolution_rows},
    {"nn", add_nn_rows},
    {"array", add_array_rows},
    {"along axes", add_along_axes_rows},
    {"linalg", add_linalg_rows},
    {"matrices", add_matrix_rows},
    {"losses", add_loss_rows},
    {"edge cases", add_edge_case_rows},
    {"control flow", add_control_flow_rows},
};

/// All rows, in the order above.
const std::vector<OpRow>& op_rows();

/// CHECKs that elements are within `tolerance` of those expected, relative to these where they
/// are larger than 1.
void check_close(const Tensor& actual, const Tensor& expected, double tolerance);
void check_close(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected,
                 double tolerance);

/// The outputs of a row, and its gradients by `inputs` where it has some.
std::vector<Output> with_gradients(const OpRow& row, const std::vector<Output>& inputs,
                                   std::vector<Output> outputs);

/// What a session with `options` makes of a row whose float32 inputs are of `dtype`: its outputs,
/// and the gradients of first and second order of a weighted sum of them where it has any.
std::vector<Tensor> row_values(const OpRow& row, DType dtype, const SessionOptions& options);

}  // namespace gradgraph::tests

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "op_rows.h"

/// Every op on the GPU against the CPU.
namespace gg = gradgraph;
using gg::DType;
using gg::Tensor;
using gg::tests::check_close;

namespace {

std::vector<Tensor> on(const std::string& device, const gg::tests::OpRow& row, DType dtype) {
  return row_values(row, dtype, {.device = device, .threads = 1});
}

}  // namespace

TEST_SUITE("cuda rows") {
  TEST_CASE("values and gradients of first and second order are the CPU's") {
    for (const gg::tests::OpRow& row : gg::tests::op_rows()) {
      CAPTURE(row.name);
      for (const DType dtype : {gg::float32, gg::float64}) {
        CAPTURE(dtype);
        const std::vector<Tensor> expected = on("cpu", row, dtype),
                                  actual = on("cuda", row, dtype);
        const double tolerance = dtype == gg::float32 ? std::max(1e-5, row.tolerance) : 1e-11;
        check_close(actual, expected, tolerance);
      }
    }
  }

  TEST_CASE("16 bits are the CPU's but for their last digits") {
    for (const gg::tests::OpRow& row : gg::tests::op_rows()) {
      CAPTURE(row.name);
      for (const DType dtype : {gg::float16, gg::bfloat16}) {
        if (std::ranges::find(row.also, dtype) == row.also.end()) continue;
        CAPTURE(dtype);
        const std::vector<Tensor> expected = on("cpu", row, dtype),
                                  actual = on("cuda", row, dtype);
        check_close(actual, expected, dtype == gg::float16 ? 0x1p-7 : 0x1p-4);
      }
    }
  }

  TEST_CASE("only linear algebra, and what the CPU alone fuses, have no kernels") {
    const std::set<std::string> elsewhere = {"cholesky",
                                             "cond",
                                             "det",
                                             "eigh",
                                             "inverse",
                                             "logdet",
                                             "qr",
                                             "solve",
                                             "svd",
                                             "fused_sums",
                                             "matmul_with_epilogue",
                                             "matmul_with_update",
                                             "conv2d_relu_pool",
                                             "conv2d_relu_pool_filter_grad",
                                             "conv2d_relu_pool_input_grad"};
    for (const gg::OpDef* op : gg::op_registry().all()) {
      if (elsewhere.contains(op->name)) continue;
      for (const DType dtype : {gg::float32, gg::float64, gg::int32, gg::int64, gg::uint8,
                                gg::boolean, gg::float16, gg::bfloat16}) {
        CAPTURE(op->name);
        CAPTURE(dtype);
        if (gg::kernel_registry().has(op->name, "cpu", dtype))
          CHECK(gg::kernel_registry().has(op->name, "cuda", dtype));
      }
    }
  }
}

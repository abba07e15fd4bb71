#include <doctest/doctest.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <set>

#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "op_rows.h"

/// Every op on the GPU against the CPU; --subcase="softmax/*" asks for some rows alone.
namespace gg = gradgraph;
using gg::DType;
using gg::Tensor;

namespace {

/// A row that throws hides no other one.
void for_each_row(const std::function<void(const gg::tests::OpRow&)>& check) {
  for (const gg::tests::OpRow& row : gg::tests::op_rows()) SUBCASE(row.name.c_str()) {
      try {
        check(row);
      } catch (const std::exception& error) {
        FAIL_CHECK(std::string(error.what()));
      }
    }
}

void check_row(const gg::tests::OpRow& row, DType dtype, double tolerance) {
  CAPTURE(dtype);
  const auto on = [&](const char* device) {
    return row_values(row, dtype, {.device = device, .threads = 1});
  };
  const std::vector<Tensor> expected = on("cpu");
  gg::tests::check_close(on("cuda"), expected, tolerance);
}

}  // namespace

TEST_SUITE("cuda rows") {
  TEST_CASE("values and gradients of first and second order are the CPU's") {
    for_each_row([](const gg::tests::OpRow& row) {
      for (const DType dtype : {gg::float32, gg::float64})
        check_row(row, dtype, dtype == gg::float32 ? std::max(1e-5, row.tolerance) : 1e-11);
    });
  }

  TEST_CASE("16 bits are the CPU's but for their last digits") {
    for_each_row([](const gg::tests::OpRow& row) {
      for (const DType dtype : {gg::float16, gg::bfloat16})
        if (std::ranges::find(row.also, dtype) != row.also.end())
          check_row(row, dtype, dtype == gg::float16 ? 0x1p-7 : 0x1p-4);
    });
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
                                             "fused_parts",
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

#include <algorithm>
#include <utility>
#include <vector>

#include "device/cpu/fused/program_runner.h"
#include "device/cpu/isa/isa.h"
#include "device/cpu/kernels.h"
#include "device/cpu/matmul/blas.h"
#include "device/cpu/matmul/gemm.h"
#include "device/shared/products.h"
#include "graph/program.h"

namespace gradgraph {
namespace {

/// With fewer batches than threads each product is split up, else each thread takes some.
class GemmMatmul {
 public:
  explicit GemmMatmul(const KernelSite& site)
      : products_(products_of(site)),
        gemm_({products_.rows, products_.columns, products_.inner, products_.transpose_a,
               products_.transpose_b},
              count() < site.threads() ? site.threads() : 1) {
    const std::int64_t work = products_.rows * products_.columns * products_.inner;
    if (count() >= site.threads())
      parts_ = std::clamp<std::int64_t>(count() * work / kProductGrain, 1, site.threads());
  }

  std::size_t workspace_bytes() const {
    return static_cast<std::size_t>(parts_) * gemm_.workspace_bytes();
  }

  void operator()(const KernelArgs& args) const {
    parallel_parts(count(), parts_, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
      void* workspace = static_cast<char*>(args.workspace) +
                        static_cast<std::size_t>(part) * gemm_.workspace_bytes();
      for (std::int64_t i = begin; i < end; ++i) {
        const auto [a, b] = products_.batches[static_cast<std::size_t>(i)];
        gemm_.run(args.input<float>(0) + a, args.input<float>(1) + b,
                  args.output<float>() + i * products_.rows * products_.columns, workspace);
      }
    });
  }

 private:
  std::int64_t count() const { return static_cast<std::int64_t>(products_.batches.size()); }

  Products products_;
  Gemm gemm_;
  std::int64_t parts_ = 1;
};

Kernel make_matmul(const KernelSite& site) {
  // Without vector code for this processor BLAS does better.
  if (best_isa() == Isa::baseline) return {};
  GemmMatmul matmul(site);
  const std::size_t workspace = matmul.workspace_bytes();
  return {std::move(matmul), workspace};
}

/// A product whose chunks go through a program as long as they are in the cache: the result of
/// "matmul_with_epilogue", or new values of variables for "matmul_with_update".
class GemmWithProgram {
 public:
  explicit GemmWithProgram(const KernelSite& site)
      : product_(site.node().op().traits.updates_variable ? site.node().num_outputs() : 0),
        gemm_(shape_of(site, product_), site.threads()),
        columns_(last_of(site.output_shape())),
        program_(program_of(site.node()), program_shapes(site, product_), product_, product_) {}

  std::size_t workspace_bytes() const {
    return gemm_.workspace_bytes() +
           static_cast<std::size_t>(gemm_.cells()) * program_.scratch_bytes();
  }

  void operator()(const KernelArgs& args) const {
    const auto first = static_cast<std::size_t>(product_);
    char* scratch = static_cast<char*>(args.workspace) + gemm_.workspace_bytes();
    gemm_.run_chunks(
        args.input<float>(first), args.input<float>(first + 1), args.workspace,
        [&](std::int64_t cell, const Gemm::Chunk& chunk) {
          char* own = scratch + static_cast<std::size_t>(cell) * program_.scratch_bytes();
          // Rows that follow each other in c are one run of elements.
          if (chunk.columns == columns_) {
            close_gaps(chunk);
            const std::int64_t begin = chunk.row * columns_;
            program_.run(args.inputs, args.outputs, own, begin, begin + chunk.rows * columns_,
                         chunk.values);
          } else {
            program_.run(
                args.inputs, args.outputs, own,
                {chunk.row, chunk.column, chunk.rows, chunk.columns, chunk.values, chunk.stride});
          }
        });
  }

 private:
  /// Rows are padded to whole vectors.
  static void close_gaps(const Gemm::Chunk& chunk) {
    for (std::int64_t i = 1; i < chunk.rows && chunk.stride != chunk.columns; ++i)
      std::copy_n(chunk.values + i * chunk.stride, chunk.columns,
                  chunk.values + i * chunk.columns);
  }
  static GemmShape shape_of(const KernelSite& site, std::int32_t product) {
    const bool transpose_a = site.attribute<bool>("transpose_a");
    const Shape &a = site.input_shape(product), &c = site.output_shape();
    const std::int64_t columns = last_of(c);
    return {c.num_elements() / columns, columns, transpose_a ? a[0] : last_of(a), transpose_a,
            site.attribute<bool>("transpose_b")};
  }
  static std::int64_t last_of(const Shape& shape) { return shape[shape.rank() - 1]; }
  static std::vector<Shape> program_shapes(const KernelSite& site, std::int32_t product) {
    std::vector<Shape> shapes;
    for (int i = 0; i < site.num_inputs(); ++i) {
      if (i == product) shapes.push_back(site.output_shape());
      if (i != product && i != product + 1) shapes.push_back(site.input_shape(i));
    }
    return shapes;
  }

  std::int32_t product_;  ///< the program's input that is the product
  Gemm gemm_;
  std::int64_t columns_;
  ProgramRunner program_;
};

Kernel make_with_program(const KernelSite& site) {
  GemmWithProgram kernel(site);
  const std::size_t workspace = kernel.workspace_bytes();
  return {std::move(kernel), workspace};
}

}  // namespace

void register_gemm_kernels(KernelRegistry& registry) {
  registry.add_faster("matmul_with_epilogue", kCpu, {float32}, make_with_program);
  registry.add_faster("matmul_with_update", kCpu, {float32}, make_with_program);
  registry.add_faster("matmul", kCpu, {float32}, make_matmul);
}

}  // namespace gradgraph

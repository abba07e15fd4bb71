#include <algorithm>
#include <utility>

#include "device/cpu/gemm.h"
#include "device/cpu/kernels.h"
#include "device/cpu/products.h"

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
  GemmMatmul matmul(site);
  const std::size_t workspace = matmul.workspace_bytes();
  return {std::move(matmul), workspace};
}

}  // namespace

void register_gemm_kernels(KernelRegistry& registry) {
  // Without vector code for this processor BLAS does better.
  if (best_isa() == Isa::baseline) return;
  registry.add("matmul", kCpu, {float32}, make_matmul);
}

}  // namespace gradgraph

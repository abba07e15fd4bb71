#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "device/cpu/isa/isa.h"
#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "noise.h"

/// For tests that call kernels without a session.
namespace gradgraph::tests {

/// What the CPU's kernel, or its reference, makes of a node whose inputs are constants.
inline Tensor compute(const Output& output, int threads, bool reference = false) {
  const Node& node = output.node();
  std::vector<const void*> inputs;
  for (const Output& input : node.inputs())
    inputs.push_back(input.node().attributes().get<Tensor>("value").raw());
  // A kernel owes nothing to what its buffers held.
  Tensor result = Tensor::full(node.dtype(), node.shape(), std::nan(""));
  void* const results[] = {result.raw()};
  const Kernel kernel = kernel_registry().make(KernelSite(node, threads), "cpu", reference);
  REQUIRE(kernel);
  Tensor workspace =
      Tensor::full(uint8, {static_cast<std::int64_t>(kernel.workspace_bytes)}, 255);
  const RunInfo run;
  kernel.run({inputs, results, workspace.raw(), &run});
  return result;
}

/// At every level of the instruction set up to the best one.
template <class Visit>
void for_each_isa(const Visit& visit) {
  const Isa best = best_isa();
  for (const Isa level : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (level > best) continue;
    CAPTURE(static_cast<int>(level));
    const IsaScope scope(level);
    visit();
  }
}

inline bool close(const Tensor& a, const Tensor& b, double tolerance) {
  REQUIRE(a.shape() == b.shape());
  const Tensor x = a.cast(float64), y = b.cast(float64);
  return std::ranges::equal(x.span<double>(), y.span<double>(), [=](double u, double v) {
    return std::fabs(u - v) <= tolerance * std::max(1.0, std::fabs(v));
  });
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace gradgraph::tests

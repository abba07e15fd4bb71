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

/// All outputs of a node whose inputs are constants, from the CPU's kernel or its reference.
inline std::vector<Tensor> compute_all(const Node& node, int threads, bool reference = false) {
  const Kernel kernel = kernel_registry().make(KernelSite(node, threads), "cpu", reference);
  REQUIRE(kernel);
  std::vector<const void*> inputs;
  for (const Output& input : node.inputs())
    inputs.push_back(input.node().attributes().get<Tensor>("value").raw());
  // A kernel owes nothing to what its buffers held.
  std::vector<Tensor> results;
  std::vector<void*> outputs;
  for (int i = 0; i < node.num_outputs(); ++i) {
    const double before = is_floating(node.dtype(i)) ? std::nan("") : 77;
    outputs.push_back(
        results.emplace_back(Tensor::full(node.dtype(i), node.shape(i), before)).raw());
  }
  Tensor workspace =
      Tensor::full(uint8, {static_cast<std::int64_t>(kernel.workspace_bytes)}, 255);
  const RunInfo run;
  kernel.run({inputs, outputs, workspace.raw(), &run});
  return results;
}
inline Tensor compute(const Output& output, int threads, bool reference = false) {
  return compute_all(output.node(), threads, reference)[static_cast<std::size_t>(output.index())];
}

/// At every level of the instruction set that can be used here.
template <class Visit>
void for_each_isa(const Visit& visit) {
  for (const Isa level : usable_levels()) {
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

/// Every op row on the emulated GPU, in several orders of threads, blocks and streams, with equal
/// bits, and once with every access checked.

#include <doctest/doctest.h>

#include <string>

#include "cuda_emulation/emulation.h"
#include "kernel_helpers.h"
#include "op_rows.h"
#include "operands.h"

namespace gradgraph::tests {
namespace {

using cuda_emulation::Order;
using cuda_emulation::Pace;
using cuda_emulation::Settings;

constexpr struct {
  const char* name;
  Settings settings;
} kSettings[] = {
    {"forward, at once", {Order::forward, 1, Pace::eager}},
    {"reverse, late", {Order::reverse, 1, Pace::lazy}},
    {"random, freely", {Order::random, 1, Pace::free}},
    {"with checks", {.check = true}},
};

TEST_SUITE_BEGIN("cuda orders");

TEST_CASE("op rows on the emulated GPU: the same bits in every order, and clean accesses") {
  announce_operands();
  SessionOptions options;
  options.threads = 1;
  options.device = "cuda:0";
  const std::uint64_t kernels = cuda_emulation::kernels_run();
  for (const OpRow& row : op_rows()) {
    CAPTURE(row.name);
    std::vector<Tensor> first;
    for (const auto& setting : kSettings) {
      CAPTURE(setting.name);
      cuda_emulation::configure(setting.settings);
      try {
        const std::vector<Tensor> values = row_values(row, float32, options);
        if (first.empty()) first = values;
        for (std::size_t i = 0; i < values.size(); ++i) CHECK(same_bits(values[i], first[i]));
      } catch (const Error& error) {
        FAIL_CHECK(std::string(error.what()));
      }
      CHECK(cuda_emulation::take_error() == "");
    }
  }
  cuda_emulation::configure({});
  // That they ran at all, and not on the CPU.
  CHECK(cuda_emulation::kernels_run() - kernels > 10 * op_rows().size());
}

TEST_SUITE_END();

}  // namespace
}  // namespace gradgraph::tests

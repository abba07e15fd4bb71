#include <doctest/doctest.h>

#include "cuda_emulation/emulation.h"
#include "operands.h"
#include "settings.h"

namespace gradgraph::tests {

void in_every_setting(const std::function<void()>& body) {
  using cuda_emulation::Order;
  using cuda_emulation::Pace;
  static const bool announced = (announce_operands(), true);
  CHECK(announced);
  for (const cuda_emulation::Settings& settings :
       {cuda_emulation::Settings{Order::forward, 1, Pace::eager},
        {Order::reverse, 1, Pace::lazy},
        {Order::random, 1, Pace::free},
        {.check = true}}) {
    cuda_emulation::configure(settings);
    body();
    CHECK(cuda_emulation::take_error() == "");
  }
  cuda_emulation::configure({});
}

std::uint64_t allocations_in(const std::function<void()>& body) {
  const std::uint64_t before = cuda_emulation::allocations_made();
  body();
  return cuda_emulation::allocations_made() - before;
}

}  // namespace gradgraph::tests

#include <doctest/doctest.h>

#include "cuda_emulation/emulation.h"
#include "operands.h"
#include "settings.h"

namespace gradgraph::tests {

namespace {

using cuda_emulation::Order;
using cuda_emulation::Pace;
using cuda_emulation::Settings;

void in_each(std::initializer_list<Settings> all, const std::function<void()>& body) {
  for (const Settings& settings : all) {
    cuda_emulation::configure(settings);
    body();
    CHECK(cuda_emulation::take_error() == "");
  }
  cuda_emulation::configure({});
}

}  // namespace

void in_every_order(const std::function<void()>& body) {
  in_each({{Order::forward, 1, Pace::eager},
           {Order::reverse, 1, Pace::lazy},
           {Order::random, 1, Pace::free}},
          body);
}

void in_every_setting(const std::function<void()>& body) {
  static const bool announced = (announce_operands(), true);
  CHECK(announced);
  in_every_order(body);
  in_each({{.check = true}}, body);
}

std::uint64_t allocations_in(const std::function<void()>& body) {
  const std::uint64_t before = cuda_emulation::allocations_made();
  body();
  return cuda_emulation::allocations_made() - before;
}

}  // namespace gradgraph::tests

#include "cuda_emulation/helpers.h"

#include <set>

namespace cuda_emulation {

std::vector<Settings> all_settings() {
  std::vector<Settings> all;
  for (const Pace pace : {Pace::eager, Pace::lazy, Pace::free}) {
    for (const Order order : {Order::forward, Order::reverse}) all.push_back({order, 1, pace});
    for (const std::uint64_t seed : {1u, 2u}) all.push_back({Order::random, seed, pace});
  }
  all.push_back({.check = true});
  return all;
}

std::vector<std::vector<float>> results(const std::function<std::vector<float>()>& run) {
  std::set<std::vector<float>> all;
  for (const Settings& settings : all_settings()) {
    configure(settings);
    all.insert(run());
    CHECK(take_error() == "");
  }
  configure({});
  return {all.begin(), all.end()};
}

}  // namespace cuda_emulation

#include "cuda_emulation/helpers.h"

#include <set>

namespace cuda_emulation {

namespace {
std::vector<float> planted_values() {
  std::vector<float> values(kPlantedSize);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = 1 + 0.1f * static_cast<float>(i * i % 100);
  return values;
}
}  // namespace

std::vector<Settings> plain_settings() {
  std::vector<Settings> all;
  for (const Pace pace : {Pace::eager, Pace::lazy, Pace::free}) {
    for (const Order order : {Order::forward, Order::reverse}) all.push_back({order, 1, pace});
    for (const std::uint64_t seed : {1u, 2u}) all.push_back({Order::random, seed, pace});
  }
  return all;
}
std::vector<Settings> all_settings() {
  std::vector<Settings> all = plain_settings();
  all.push_back({.check = true});
  return all;
}

std::vector<std::vector<float>> results(const std::function<std::vector<float>()>& run,
                                        const std::vector<Settings>& settings) {
  std::set<std::vector<float>> all;
  for (const Settings& each : settings) {
    configure(each);
    all.insert(run());
    CHECK(take_error() == "");
  }
  configure({});
  return {all.begin(), all.end()};
}

std::string error_of(const Settings& settings, const Issue& issue, bool b_is_written) {
  configure(settings);
  const Stream stream;
  Array<float> a(planted_values()), b(kPlantedSize);
  if (b_is_written) REQUIRE_OK(cudaMemsetAsync(b, 0, kPlantedSize * sizeof(float), stream));
  REQUIRE_OK(cudaStreamSynchronize(stream));
  REQUIRE_OK(issue(a, b, stream));
  const bool failed = cudaStreamSynchronize(stream) != cudaSuccess;
  const std::string error = take_error();
  CHECK(failed == !error.empty());
  configure({});
  return error;
}

bool shows_in_orders(const Issue& issue) {
  const auto run = [&] {
    const Stream stream;
    Array<float> a(planted_values()), b(std::vector<float>(kPlantedSize, 0.0f));
    REQUIRE_OK(issue(a, b, stream));
    REQUIRE_OK(cudaStreamSynchronize(stream));
    return b.values();
  };
  return results(run, plain_settings()).size() > 1;
}

}  // namespace cuda_emulation

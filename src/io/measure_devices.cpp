#include "io/measure_devices.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <vector>

#include "core/text.h"
#include "core/threads.h"
#include "device/device.h"
#include "gradgraph/ops.h"
#include "gradgraph/profile.h"
#include "passes/pass_list.h"
#include "session/device_costs.h"

namespace gradgraph {
namespace {

constexpr int kRuns = 8;

/// The least time of some calls.
template <class Body>
double least_seconds(int runs, const Body& body) {
  using Clock = std::chrono::steady_clock;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < runs; ++i) {
    const auto start = Clock::now();
    body();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return least;
}

/// The least time of a node of `op` in some runs of `result`.
double least_node_seconds(const Output& result, const std::string& device, const char* op,
                          int threads) {
  Session session(result.graph(), {.device = device, .threads = threads, .node_times = true});
  Callable run = session.prepare({}, {group(result.graph(), {result})});
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRuns; ++i) {
    run();
    for (const NodeTime& time : session.last_run().nodes)
      if (time.node->op().name == op) least = std::min(least, time.seconds);
  }
  return least;
}

/// What one more node takes in a run of nodes without work.
double measure_node_seconds(const std::string& device, int threads, bool records) {
  SessionOptions options{.device = device, .threads = threads, .record_steps = records};
  for (const Pass& pass : pass_list()) options.disabled_passes.emplace_back(pass.name);
  const auto run_of = [&](int nodes) {
    Graph graph;
    const auto scope = device_scope(graph, device);
    Output x = variable(graph, Tensor(0.5F), "x");
    for (int i = 0; i < nodes; ++i) x = x * 0.5F;
    Session session(graph, options);
    Callable run = session.prepare({}, {group(graph, {x})});
    return least_seconds(4 * kRuns, [&] { run(); });
  };
  constexpr int kFew = 20, kMany = 220;
  return std::max(run_of(kMany) - run_of(kFew), 0.0) / (kMany - kFew);
}

/// Of copies that the host waits for.
DeviceCosts::Copies measure_copies(Device& device, CopyKind kind, std::int64_t bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  const auto free_staging = [&](void* memory) { device.deallocate_staging(memory); };
  const auto free = [&](void* memory) { device.deallocate(memory); };
  const std::unique_ptr<void, decltype(free_staging)> host(device.allocate_staging(size),
                                                           free_staging);
  const std::unique_ptr<void, decltype(free)> there(device.allocate(size), free);
  const std::unique_ptr<Stream> stream = device.make_stream();
  const auto seconds = [&](std::size_t count) {
    return least_seconds(kRuns, [&] {
      if (kind == CopyKind::to_device)
        stream->copy(there.get(), host.get(), count, kind);
      else
        stream->copy(host.get(), there.get(), count, kind);
      stream->synchronize();
      stream->check();
    });
  };
  std::fill_n(static_cast<char*>(host.get()), size, char{});
  stream->copy(there.get(), host.get(), size, CopyKind::to_device);
  const double each = seconds(sizeof(float)), large = seconds(size);
  return {each, static_cast<double>(bytes) / std::max(large - each, large * 0x1p-10)};
}

}  // namespace

MeasuringSizes sizes_for(const std::string& device) {
  if (device == "cpu") return {.rows = 1536, .elements = 16 << 20, .bytes = 0};
  return {.rows = 8192, .elements = 64 << 20, .bytes = 64 << 20};
}

// Random numbers, since zeros take less power: some devices are faster then.

double measure_product_flops(const std::string& device, std::int64_t rows, int threads) {
  Graph graph;
  const auto scope = device_scope(graph, device);
  const auto matrix = [&](const char* name) {
    return variable(random_uniform(graph, {rows, rows}), name);
  };
  const auto product = matmul(matrix("a"), matrix("b"));
  const auto size = static_cast<double>(rows);
  return 2 * size * size * size / least_node_seconds(product, device, "matmul", threads);
}

double measure_bandwidth(const std::string& device, std::int64_t elements, int threads) {
  Graph graph;
  const auto scope = device_scope(graph, device);
  const auto b = variable(random_uniform(graph, {elements}), "b"),
             c = variable(random_uniform(graph, {elements}), "c");
  const auto triad = assign(variable(graph, float32, {elements}, "a"), b + c * 0.5F);
  return 3 * sizeof(float) * static_cast<double>(elements) /
         least_node_seconds(triad, device, "assign", threads);
}

DeviceCosts measure_costs(const std::string& name, const MeasuringSizes& sizes, int threads) {
  DeviceCosts costs{.flops_per_second = measure_product_flops(name, sizes.rows, threads),
                    .bytes_per_second = measure_bandwidth(name, sizes.elements, threads),
                    .node_seconds = measure_node_seconds(name, threads, /*records=*/false),
                    .recorded_node_seconds = measure_node_seconds(name, threads, true)};
  costs.recorded_node_seconds = std::min(costs.recorded_node_seconds, costs.node_seconds);
  Device& device = *device_registry().open(name);
  if (device.host_memory()) return costs;
  costs.from_host = measure_copies(device, CopyKind::to_device, sizes.bytes);
  costs.to_host = measure_copies(device, CopyKind::to_host, sizes.bytes);
  return costs;
}

std::string measure_devices(int threads) {
  const std::shared_ptr<Device> host = device_registry().open("cpu");
  std::vector<MeasuredCosts> measured;
  std::string words;
  std::string kind;
  for (const std::string& name : available_devices()) {
    if (kind_of(name) == kind) continue;  // the first stands for all of its kind
    kind = kind_of(name);
    const DeviceCosts costs = measure_costs(name, sizes_for(name), threads);
    measured.push_back(
        {cost_key(*device_registry().open(name), *host), costs, thread_count(threads)});
    words += fmt::format("{}: {}\n", name, in_words(costs));
  }
  keep_costs(cost_table(), measured);
  return words + fmt::format("kept in {}\n", cost_table().string());
}

}  // namespace gradgraph

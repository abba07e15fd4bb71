#include "gradgraph/profile.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "core/text.h"
#include "core/threads.h"
#include "device/ceilings.h"
#include "gradgraph/op.h"
#include "io/measure_devices.h"
#include "io/profile_state.h"

namespace gradgraph {
namespace {

/// "float32[128,784] int64[2] -> float32[128,512]".
std::string shapes_of(const Node& node) {
  std::string text;
  for (const Output& input : node.inputs())
    text += fmt::format("{}{} ", input.dtype(), input.shape());
  text += "->";
  for (int i = 0; i < node.num_outputs(); ++i)
    text += fmt::format(" {}{}", node.dtype(i), node.shape(i));
  return text;
}

std::string rate(double amount, double seconds) {
  return amount > 0 && seconds > 0 ? fmt::format("{:.1f}", amount / seconds * 1e-9) : "-";
}

std::string percent(double part, double whole) {
  return whole > 0 ? fmt::format("{:.1f} %", 100 * part / whole) : "-";
}

}  // namespace

Ceilings measure_ceilings(int threads) {
  const int count = thread_count(threads);
  return {measure_peak_flops(count), measure_triad_bandwidth(count), "cpu"};
}

Ceilings measure_ceilings(const std::string& device, int threads) {
  if (device == "cpu") return measure_ceilings(threads);
  const MeasuringSizes sizes = sizes_for(device);
  return {measure_product_flops(device, sizes.rows, threads),
          measure_bandwidth(device, sizes.elements, threads), device};
}

Profile::Profile(ProfileOptions options) : state_(std::make_unique<State>()) {
  state_->options = options;
}
Profile::~Profile() = default;
Profile::Profile(Profile&&) noexcept = default;
Profile& Profile::operator=(Profile&&) noexcept = default;

std::size_t Profile::State::node_index(const NodeTime& time) {
  const auto [found, is_new] = index_of.try_emplace(time.planned, nodes.size());
  // Another plan's node may stand where a dropped one's stood.
  if (!is_new && nodes[found->second].name == time.kernel) return found->second;
  found->second = nodes.size();
  const Node& node = *time.planned;
  const SourceLocation where = node.where();
  nodes.push_back({time.node, time.kernel, node.op().name, shapes_of(node),
                   where.known() ? fmt::format("{}:{}", where.file, where.line) : "", time.device,
                   time.stream, gradgraph::flops(node), bytes_moved(node)});
  return found->second;
}

void Profile::add_wait(ProfileClock::time_point start) {
  state_->wait_start = start;
  state_->pending_wait = std::chrono::duration<double>(ProfileClock::now() - start).count();
  state_->is_waiting = true;
}

void Profile::skip_time() { state_->is_continuous = state_->is_waiting = false; }

void Profile::add_run(const RunStats& run) {
  State& state = *state_;
  const bool waited = std::exchange(state.is_waiting, false);
  if (state.runs_seen++ < state.options.skipped_runs) return;
  const ProfileClock::time_point first = waited ? state.wait_start : run.start;
  if (num_runs() == 1) state.origin = first;
  const ProfileClock::time_point since = state.is_continuous ? state.last_end : first;
  state.last_end = run.start + std::chrono::duration_cast<ProfileClock::duration>(
                                   std::chrono::duration<double>(run.total_seconds));
  state.is_continuous = true;
  state.total_seconds += std::chrono::duration<double>(state.last_end - since).count();
  const double wait = waited ? state.pending_wait : 0;
  const double start = state.since_origin(run.start);
  state.wait_seconds += wait;
  state.feed_seconds += run.feed_seconds;
  const bool is_traced = num_runs() <= state.options.traced_runs;
  if (is_traced)
    state.traced.push_back({run.step,
                            state.since_origin(first),
                            wait,
                            start,
                            run.total_seconds,
                            run.feed_seconds,
                            {}});
  for (const NodeTime& time : run.nodes) {
    const std::size_t index = state.node_index(time);
    state.nodes[index].calls += 1;
    state.nodes[index].seconds += time.seconds;
    state.node_seconds += time.seconds;
    if (is_traced) state.traced.back().nodes.push_back({index, start + time.start, time.seconds});
  }
}

int Profile::num_runs() const {
  return std::max(0, state_->runs_seen - state_->options.skipped_runs);
}
double Profile::total_seconds() const { return state_->total_seconds; }
double Profile::node_seconds() const { return state_->node_seconds; }
double Profile::feed_seconds() const { return state_->feed_seconds; }
double Profile::wait_seconds() const { return state_->wait_seconds; }

std::string Profile::table(const Ceilings& ceilings) const {
  return table(std::vector<Ceilings>{ceilings});
}

std::vector<std::string> Profile::devices() const {
  std::set<std::string> devices;
  for (const State::NodeRecord& node : state_->nodes) devices.insert(node.device);
  return {devices.begin(), devices.end()};
}

std::string Profile::table(const std::vector<Ceilings>& ceilings) const {
  const State& state = *state_;
  const auto ceilings_of = [&](const std::string& device) {
    const auto found = std::ranges::find(ceilings, device, &Ceilings::device);
    return found == ceilings.end() ? Ceilings{} : *found;
  };
  std::vector<std::size_t> order(state.nodes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return state.nodes[a].seconds > state.nodes[b].seconds;
  });
  std::size_t width = 4;
  for (const State::NodeRecord& node : state.nodes) width = std::max(width, node.name.size());

  const double total = total_seconds();
  std::string text =
      fmt::format("{:<{}}  {:>7} {:>10} {:>7} {:>9} {:>7} {:>7} {:>7}\n", "node", width, "calls",
                  "seconds", "share", "GFLOP/s", "of max", "GB/s", "of max");
  const auto row = [&](const std::string& name, double seconds) {
    text += fmt::format("{:<{}}  {:>7} {:>10.6f} {:>7}", name, width, num_runs(), seconds,
                        percent(seconds, total));
  };
  for (const std::size_t i : order) {
    const State::NodeRecord& node = state.nodes[i];
    const double work = node.flops * node.calls, traffic = node.bytes * node.calls;
    const Ceilings own = ceilings_of(node.device);
    text += fmt::format(
        "{:<{}}  {:>7} {:>10.6f} {:>7} {:>9} {:>7} {:>7} {:>7}\n", node.name, width, node.calls,
        node.seconds, percent(node.seconds, total), rate(work, node.seconds),
        work > 0 ? percent(work / node.seconds, own.flops_per_second) : "-",
        rate(traffic, node.seconds), percent(traffic / node.seconds, own.bytes_per_second));
  }
  row("feeds", feed_seconds());
  text += '\n';
  row("waiting for batches", wait_seconds());
  text += fmt::format("\n{} runs in {:.6f} s; nodes, feeds and waiting explain {} of it\n",
                      num_runs(), total,
                      percent(node_seconds() + feed_seconds() + wait_seconds(), total));
  for (const Ceilings& each : ceilings)
    text += fmt::format("ceilings{}: {:.1f} GFLOP/s, {:.1f} GB/s\n",
                        each.device == "cpu" ? "" : " of " + each.device,
                        each.flops_per_second * 1e-9, each.bytes_per_second * 1e-9);
  return text;
}

}  // namespace gradgraph

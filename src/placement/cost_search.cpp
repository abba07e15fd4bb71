#include "placement/cost_search.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "core/index.h"
#include "gradgraph/op.h"
#include "graph/slot.h"
#include "graph/static_inputs.h"

namespace gradgraph {
namespace {

/// Seconds; what saves less is rounding.
constexpr double kLeastGain = 1e-10;
/// Few graphs need more than three; a bound keeps the time linear.
constexpr int kMostRounds = 8;

/// Lists by number, one behind the other.
class Lists {
 public:
  /// From (number, entry) pairs.
  Lists(std::size_t count, const std::vector<std::pair<std::int32_t, std::int32_t>>& pairs)
      : begin_(count + 1, 0), entries_(pairs.size()) {
    for (const auto& [number, entry] : pairs) ++begin_[at(number) + 1];
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    std::vector<std::size_t> next(begin_.begin(), begin_.end() - 1);
    for (const auto& [number, entry] : pairs) entries_[next[at(number)]++] = entry;
  }
  std::span<const std::int32_t> operator[](std::int32_t number) const {
    return std::span(entries_).subspan(begin_[at(number)],
                                       begin_[at(number) + 1] - begin_[at(number)]);
  }

 private:
  std::vector<std::size_t> begin_;
  std::vector<std::int32_t> entries_;
};

/// What units hand to each other.
struct Traffic {
  Traffic(const Graph& graph, const PlacementUnits& units) {
    std::vector<std::int32_t> first(graph.nodes().size(), 0);
    for (const Node& node : graph.nodes()) {
      first[slot(node)] = static_cast<std::int32_t>(source.size());
      for (int i = 0; i < node.num_outputs(); ++i) {
        source.push_back(units.of_node[slot(node)]);
        bytes.push_back(static_cast<double>(node.shape(i).num_elements()) *
                        static_cast<double>(size_of(node.dtype(i))));
      }
    }
    for (const Node& node : graph.nodes()) {
      const std::int32_t reader = units.of_node[slot(node)];
      const Traits& traits = node.op().traits;
      if (reader == kNone || traits.shape_only) continue;
      for (int i = 0; i < node.num_inputs(); ++i) {
        const std::int32_t value = first[slot(node.input(i))] + node.input(i).index();
        if (is_static_input(traits, i) || source[at(value)] == kNone) continue;
        if (source[at(value)] != reader) reads.emplace_back(reader, value);
      }
    }
    // By unit, and what a unit reads twice once.
    const Lists all(units.units.size(), std::exchange(reads, {}));
    std::vector<std::int32_t> last_reader(source.size(), kNone);
    for (std::int32_t unit = 0; at(unit) < units.units.size(); ++unit)
      for (const std::int32_t value : all[unit])
        if (std::exchange(last_reader[at(value)], unit) != unit) reads.emplace_back(unit, value);
  }

  std::vector<std::int32_t> source;  ///< by value: the unit that has it
  std::vector<double> bytes;
  std::vector<std::pair<std::int32_t, std::int32_t>> reads;  ///< (unit, value of another)

  std::vector<std::pair<std::int32_t, std::int32_t>> by_value() const {
    auto pairs = reads;
    for (auto& [unit, value] : pairs) std::swap(unit, value);
    return pairs;
  }
  /// Of each unit, the values that its place decides about: those that it reads or has.
  std::vector<std::pair<std::int32_t, std::int32_t>> touched() const {
    auto pairs = reads;
    for (std::size_t value = 0; value < source.size(); ++value)
      if (source[value] != kNone)
        pairs.emplace_back(source[value], static_cast<std::int32_t>(value));
    return pairs;
  }
};

class CostSearch {
 public:
  CostSearch(const Graph& graph, const PlacementUnits& units, const PlacementOptions& options)
      : graph_(graph),
        units_(units),
        options_(options),
        traffic_(graph, units),
        readers_of_(traffic_.source.size(), traffic_.by_value()),
        touched_(units.units.size(), traffic_.touched()),
        reads_(units.units.size(), traffic_.reads),
        num_devices_(options.devices.size()),
        kernels_(units.units.size(), 0),
        work_(units.units.size() * num_devices_, 0),
        device_(units.units.size(), kNone),
        readers_(traffic_.source.size() * num_devices_, 0),
        kernels_on_(num_devices_, 0),
        value_mark_(traffic_.source.size(), 0),
        region_mark_(readers_.size(), 0),
        unit_mark_(units.units.size(), 0) {
    for (const std::string& name : options.devices) {
      const auto same = [&](const std::string& other) { return kind_of(other) == kind_of(name); };
      kind_.push_back(static_cast<int>(std::ranges::find_if(options.devices, same) -
                                       options.devices.begin()));
    }
    weigh_nodes();
  }

  UnitPlacement run() {
    for (const int device : starts()) {
      begin([&](std::int32_t unit) { return can_be(unit, device) ? device : first_of(unit); });
      best_.estimate.alone.push_back({device, total()});
      consider();
    }
    for (const int device : starts()) {
      begin([&](std::int32_t unit) { return can_be(unit, device) ? device : first_of(unit); });
      improve();
      consider();
    }
    begin([&](std::int32_t unit) { return fastest_of(unit); });
    improve();
    consider();
    begin([&](std::int32_t unit) { return best_.device[at(unit)]; });
    estimate_nodes();
    best_.estimate.moves_tried = moves_tried_;
    return std::move(best_);
  }

 private:
  std::int32_t num_units() const { return static_cast<std::int32_t>(units_.units.size()); }
  bool is_free(std::int32_t unit) const { return units_.units[at(unit)].device == kNone; }

  /// The devices to choose from, the default first.
  std::vector<int> starts() const {
    std::vector<int> devices = options_.choices;
    std::stable_partition(devices.begin(), devices.end(),
                          [&](int d) { return d == options_.default_device; });
    return devices;
  }
  bool can_be(std::int32_t unit, int device) const {
    const PlacementUnits::Unit& it = units_.units[at(unit)];
    if (it.device != kNone) return it.device == device;
    for (std::size_t i = 0; i < options_.choices.size(); ++i)
      if (options_.choices[i] == device) return (it.choices >> i & 1) != 0;
    return false;
  }
  int first_of(std::int32_t unit) const {
    if (!is_free(unit)) return units_.units[at(unit)].device;
    return *std::ranges::find_if(options_.choices, [&](int d) { return can_be(unit, d); });
  }
  int fastest_of(std::int32_t unit) const {
    int fastest = first_of(unit);
    if (!is_free(unit)) return fastest;
    for (const int device : options_.choices)
      if (can_be(unit, device) && unit_seconds(unit, device) < unit_seconds(unit, fastest))
        fastest = device;
    return fastest;
  }

  // --- Costs ---

  void weigh_nodes() {
    for (const Node& node : graph_.nodes()) {
      const std::int32_t unit = units_.of_node[slot(node)];
      const Traits& traits = node.op().traits;
      if (unit == kNone || traits.no_kernel || traits.alias || traits.moves_value) continue;
      ++kernels_[at(unit)];
      ++all_kernels_;
      for (std::int32_t device = 0; at(device) < num_devices_; ++device)
        if (can_be(unit, device))
          work_[at(unit) * num_devices_ + at(device)] +=
              work_seconds(node, options_.costs[at(device)]);
    }
  }

  /// Of a unit's nodes, issued one by one.
  double unit_seconds(std::int32_t unit, int device) const {
    return work_[at(unit) * num_devices_ + at(device)] +
           static_cast<double>(kernels_[at(unit)]) * options_.costs[at(device)].node_seconds;
  }

  std::int32_t& readers(std::int32_t value, int device) {
    return readers_[at(value) * num_devices_ + at(device)];
  }

  /// Of bringing the value to all devices that read it.
  double value_seconds(std::int32_t value) {
    const int from = device_[at(traffic_.source[at(value)])];
    const double bytes = traffic_.bytes[at(value)];
    bool is_on_host = readers(value, kHost) > 0;
    double seconds = 0;
    for (int to = 1; at(to) < num_devices_; ++to) {
      if (to == from || readers(value, to) == 0) continue;
      seconds += copy_seconds(bytes, options_.costs[at(to)].from_host);
      is_on_host = is_on_host || (from != kHost && kind_[at(from)] != kind_[at(to)]);
    }
    if (is_on_host && from != kHost)
      seconds += copy_seconds(bytes, options_.costs[at(from)].to_host);
    return seconds;
  }

  /// What a step saves that is issued as a whole: nothing unless one device has all its nodes.
  double saved_by_recording() const {
    for (std::size_t device = 0; device < num_devices_; ++device)
      if (all_kernels_ > 0 && kernels_on_[device] == all_kernels_)
        return static_cast<double>(all_kernels_) * (options_.costs[device].node_seconds -
                                                    options_.costs[device].recorded_node_seconds);
    return 0;
  }

  double total() {
    double seconds = 0;
    for (std::int32_t unit = 0; unit < num_units(); ++unit)
      seconds += unit_seconds(unit, device_[at(unit)]);
    for (std::size_t value = 0; value < traffic_.source.size(); ++value)
      if (traffic_.source[value] != kNone)
        seconds += value_seconds(static_cast<std::int32_t>(value));
    return seconds - saved_by_recording();
  }

  // --- Moves ---

  template <class DeviceOf>
  void begin(const DeviceOf& device_of) {
    std::ranges::fill(readers_, 0);
    std::ranges::fill(kernels_on_, 0);
    for (std::int32_t unit = 0; unit < num_units(); ++unit) {
      device_[at(unit)] = device_of(unit);
      kernels_on_[at(device_[at(unit)])] += kernels_[at(unit)];
      for (const std::int32_t value : reads_[unit]) ++readers(value, device_[at(unit)]);
    }
  }

  void set_device(std::int32_t unit, int device) {
    const int before = std::exchange(device_[at(unit)], device);
    kernels_on_[at(before)] -= kernels_[at(unit)];
    kernels_on_[at(device)] += kernels_[at(unit)];
    for (const std::int32_t value : reads_[unit]) {
      --readers(value, before);
      ++readers(value, device);
    }
  }

  /// What those of `group` that may be on `device` save there; they are there afterwards.
  /// `moved_` has them, and where they were.
  double move(std::span<const std::int32_t> group, int device) {
    moved_.clear();
    touched_now_.clear();
    const std::int64_t mark = ++last_mark_;
    for (const std::int32_t unit : group) {
      if (device_[at(unit)] == device || !can_be(unit, device)) continue;
      moved_.emplace_back(unit, device_[at(unit)]);
      for (const std::int32_t value : touched_[unit])
        if (std::exchange(value_mark_[at(value)], mark) != mark) touched_now_.push_back(value);
    }
    moves_tried_ += static_cast<std::int64_t>(moved_.size());
    const auto seconds = [&] {
      double sum = 0;
      for (const auto& [unit, before] : moved_) sum += unit_seconds(unit, device_[at(unit)]);
      for (const std::int32_t value : touched_now_) sum += value_seconds(value);
      return sum;
    };
    const double before = seconds();
    for (const auto& [unit, was] : moved_) set_device(unit, device);
    return before - seconds();
  }
  void undo() {
    for (const auto& [unit, was] : moved_) set_device(unit, was);
  }

  bool move_if_better(std::span<const std::int32_t> group) {
    bool moved = false;
    for (const int device : options_.choices) {
      if (device == device_[at(group.front())]) continue;
      if (move(group, device) > kLeastGain)
        moved = true;
      else
        undo();
    }
    return moved;
  }

  void improve() {
    for (int round = 0; round < kMostRounds; ++round) {
      bool moved = move_regions(/*by_readers=*/true);
      moved |= move_regions(/*by_readers=*/false);
      for (std::int32_t unit = 0; unit < num_units(); ++unit)
        if (is_free(unit)) moved |= move_if_better(std::span(&unit, 1));
      if (!moved) return;
    }
  }

  /// Units are of one region that are on one device and hand values to each other; `by_readers`
  /// also those that read the same value.
  bool move_regions(bool by_readers) {
    bool moved = false;
    const std::int64_t sweep = ++last_mark_;
    for (std::int32_t unit = 0; unit < num_units(); ++unit) {
      if (!is_free(unit) || unit_mark_[at(unit)] == sweep) continue;
      find_region(unit, sweep, by_readers);
      moved |= move_if_better(region_);
    }
    return moved;
  }

  void find_region(std::int32_t first, std::int64_t sweep, bool by_readers) {
    const int device = device_[at(first)];
    region_.clear();
    const auto visit = [&](std::int32_t unit) {
      if (!is_free(unit) || device_[at(unit)] != device) return;
      if (std::exchange(unit_mark_[at(unit)], sweep) != sweep) region_.push_back(unit);
    };
    visit(first);
    for (std::size_t i = 0; i < region_.size(); ++i) {
      const std::int32_t unit = region_[i];
      for (const std::int32_t value : touched_[unit]) {
        const std::int32_t source = traffic_.source[at(value)];
        visit(source);
        if (source != unit && !by_readers) continue;
        // Once per value and device, which keeps it linear where very many read one value.
        std::int64_t& mark = region_mark_[at(value) * num_devices_ + at(device)];
        if (std::exchange(mark, sweep) == sweep) continue;
        for (const std::int32_t reader : readers_of_[value]) visit(reader);
      }
    }
  }

  // --- Results ---

  void consider() {
    const double seconds = total();
    if (!best_.device.empty() && seconds > best_.estimate.seconds - kLeastGain) return;
    best_.device = device_;
    best_.estimate.seconds = seconds;
  }

  void estimate_nodes() {
    std::vector<CostEstimate::OfNode> of_unit(units_.units.size());
    for (std::int32_t unit = 0; unit < num_units(); ++unit) {
      if (!is_free(unit)) continue;
      CostEstimate::OfNode& it = of_unit[at(unit)];
      it.here = unit_seconds(unit, device_[at(unit)]);
      for (const std::int32_t value : touched_[unit]) it.here += value_seconds(value);
      for (const int device : options_.choices) {
        if (device == device_[at(unit)] || !can_be(unit, device)) continue;
        const double recorded = saved_by_recording();
        const double gain = move(std::span(&unit, 1), device) + saved_by_recording() - recorded;
        undo();
        if (it.other != kNone && it.here - gain >= it.elsewhere) continue;
        it.elsewhere = it.here - gain;
        it.other = device;
      }
    }
    for (const std::int32_t unit : units_.of_node)
      best_.estimate.nodes.push_back(unit == kNone ? CostEstimate::OfNode{} : of_unit[at(unit)]);
  }

  const Graph& graph_;
  const PlacementUnits& units_;
  const PlacementOptions& options_;
  const Traffic traffic_;
  const Lists readers_of_;  ///< by value: units
  const Lists touched_;     ///< by unit: values
  const Lists reads_;       ///< by unit: values of others
  const std::size_t num_devices_;
  std::vector<int> kind_;                 ///< by device: the first one of its kind
  std::vector<std::int64_t> kernels_;     ///< by unit: nodes that have one
  std::vector<double> work_;              ///< by unit and device
  std::vector<std::int32_t> device_;      ///< by unit, as it is now
  std::vector<std::int32_t> readers_;     ///< by value and device: units
  std::vector<std::int64_t> kernels_on_;  ///< by device
  std::int64_t all_kernels_ = 0;
  // What is being looked at, by the number of the look.
  std::vector<std::int64_t> value_mark_, region_mark_, unit_mark_;
  std::int64_t last_mark_ = 0, moves_tried_ = 0;
  std::vector<std::pair<std::int32_t, int>> moved_;
  std::vector<std::int32_t> touched_now_, region_;
  UnitPlacement best_;
};

}  // namespace

UnitPlacement search_by_cost(const Graph& graph, const PlacementUnits& units,
                             const PlacementOptions& options) {
  return CostSearch(graph, units, options).run();
}

}  // namespace gradgraph

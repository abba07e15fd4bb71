#include "session/device_costs.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/cache_folder.h"
#include "core/text.h"
#include "core/threads.h"

namespace gradgraph {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Tables of other formats are as good as none.
constexpr int kVersion = 1;

/// The numbers of the table by name. What is read is the same that is written.
template <class Costs, class Visit>
void for_each_number(Costs& costs, const Visit& visit) {
  visit("flops_per_second", costs.flops_per_second);
  visit("bytes_per_second", costs.bytes_per_second);
  visit("node_seconds", costs.node_seconds);
  visit("recorded_node_seconds", costs.recorded_node_seconds);
  visit("copy_from_host_seconds", costs.from_host.seconds);
  visit("copy_from_host_bytes_per_second", costs.from_host.bytes_per_second);
  visit("copy_to_host_seconds", costs.to_host.seconds);
  visit("copy_to_host_bytes_per_second", costs.to_host.bytes_per_second);
}

Json json_of(const MeasuredCosts& measured) {
  Json entry = {{"threads", measured.threads}};
  for_each_number(measured.costs, [&](const char* name, double number) {
    if (std::isfinite(number)) entry[name] = number;  // what is free is left out
  });
  return entry;
}

/// Throws where it is no such entry.
MeasuredCosts costs_of(const std::string& device, const Json& entry) {
  MeasuredCosts measured{.device = device, .costs = {}, .threads = entry.at("threads")};
  if (measured.threads < 1) throw DataError("threads are below 1");
  for_each_number(measured.costs, [&](const std::string& name, double& number) {
    const bool is_rate = name.ends_with("per_second");
    if (!entry.contains(name)) {
      if (is_rate) return;
      throw DataError(fmt::format("of '{}' there is no {}", device, name));
    }
    number = entry.at(name).get<double>();
    if (!std::isfinite(number) || number < 0 || (is_rate && number == 0))
      throw DataError(fmt::format("{} of '{}' is {}", name, device, number));
  });
  return measured;
}

/// Throws what says why it is no table. Where there is no file, an empty one.
std::vector<MeasuredCosts> read_table(const fs::path& path) {
  std::vector<MeasuredCosts> table;
  if (path.empty() || !fs::exists(path)) return table;
  std::ifstream file(path);
  if (!file) throw DataError("it cannot be opened");
  const Json json = Json::parse(file);
  if (const int version = json.at("version"); version != kVersion)
    throw DataError(fmt::format("it is of version {}, not {}", version, kVersion));
  for (const auto& [device, entry] : json.at("devices").items())
    table.push_back(costs_of(device, entry));
  return table;
}

}  // namespace

CostTable find_costs(const fs::path& path) {
  try {
    return {read_table(path), ""};
  } catch (const std::exception& error) {
    return {{}, error.what()};
  }
}

fs::path cost_table() {
  const fs::path folder = cache_folder();
  return folder.empty() ? folder : folder / "devices.json";
}

std::string cost_key(const Device& device, const Device& host) {
  return &device == &host
             ? host.description()
             : fmt::format("{}, beside {}", device.description(), host.description());
}

std::string in_words(const DeviceCosts& costs) {
  std::string text =
      fmt::format("{:.1f} GFLOP/s, {:.1f} GB/s, {:.2f} us a node", costs.flops_per_second * 1e-9,
                  costs.bytes_per_second * 1e-9, costs.node_seconds * 1e6);
  if (costs.recorded_node_seconds < costs.node_seconds)
    text += fmt::format(", {:.2f} us recorded", costs.recorded_node_seconds * 1e6);
  const auto add_copies = [&](const char* where, const DeviceCosts::Copies& copies) {
    if (copies.seconds > 0)
      text += fmt::format(", copies {} {:.1f} us and {:.1f} GB/s", where, copies.seconds * 1e6,
                          copies.bytes_per_second * 1e-9);
  };
  add_copies("from the host", costs.from_host);
  add_copies("to it", costs.to_host);
  return text;
}

DeviceChoices find_device_choices(SessionMemory& memory, int threads) {
  const std::vector<std::string>& names = memory.device_names();
  DeviceChoices choices;
  if (names.size() < 2) return choices;
  const fs::path path = cost_table();
  const CostTable table = find_costs(path);
  const Device& host = *memory.device(0);
  choices.costs.resize(names.size());
  std::string kind;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (kind_of(names[i]) == kind) {  // several of one kind: the first stands for all
      choices.costs[i] = choices.costs[i - 1];
      continue;
    }
    kind = kind_of(names[i]);
    const Device& device = *memory.device(i);
    const std::string key = cost_key(device, host);
    const auto known = std::ranges::find(table.entries, key, &MeasuredCosts::device);
    std::optional<DeviceCosts> costs;
    const bool is_known = known != table.entries.end();
    if (is_known) {
      costs = known->costs;
      if (i == 0)
        costs->flops_per_second *= std::min(1.0, static_cast<double>(threads) / known->threads);
    } else if (i == 0 || !device.host_memory()) {
      // What a program adds that computes as the CPU does is for those who ask for it.
      costs = device.modelled_costs(threads);
    }
    if (!costs) continue;
    choices.costs[i] = *costs;
    choices.devices.push_back(static_cast<int>(i));
    choices.words += fmt::format("{}: {}measured, {}{}\n", names[i], is_known ? "" : "not ",
                                 is_known ? "" : "so ", in_words(*costs));
  }
  if (choices.devices.size() < 2) return {};
  if (!table.fault.empty())
    choices.words += fmt::format("{} is no table of costs: {}\n", path.string(), table.fault);
  return choices;
}

void keep_costs(const fs::path& path, const std::vector<MeasuredCosts>& measured) {
  if (path.empty())
    throw DataError("there is no cache folder: neither $XDG_CACHE_HOME nor $HOME is set");
  Json devices = Json::object();
  for (const MeasuredCosts& entry : find_costs(path).entries)
    devices[entry.device] = json_of(entry);
  for (const MeasuredCosts& entry : measured) devices[entry.device] = json_of(entry);
  const auto refuse = [&](const std::string& why) {
    throw DataError(fmt::format("cannot write {}: {}", path.string(), why));
  };
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) refuse(error.message());
  const fs::path temporary = fmt::format("{}.{}", path.string(), getpid());
  {
    std::ofstream file(temporary);
    file << Json{{"version", kVersion}, {"devices", devices}}.dump(2) << '\n';
    if (!file.flush()) {
      fs::remove(temporary, error);
      refuse("the disk does not take it");
    }
  }
  fs::rename(temporary, path, error);
  if (!error) return;
  const std::string why = error.message();
  fs::remove(temporary, error);
  refuse(why);
}

}  // namespace gradgraph

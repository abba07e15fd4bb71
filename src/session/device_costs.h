#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "placement/costs.h"
#include "session/memory.h"

namespace gradgraph {

/// What a session whose device is "auto" knows of the devices that it may choose.
struct DeviceChoices {
  /// Of device names: the host and the first of each other kind that has costs. Empty where that
  /// is the host alone.
  std::vector<int> devices;
  std::vector<DeviceCosts> costs;  ///< by number of device
  std::string words;               ///< a line for each, with where its costs come from
};
/// Opens the devices that it asks, and reads the table of costs, if there is one. `threads` are
/// those of the CPU's kernels. A table that cannot be read is left out, and `words` say so.
DeviceChoices find_device_choices(SessionMemory& memory, int threads);

/// The costs of a device as they were measured.
struct MeasuredCosts {
  std::string device;  ///< its `cost_key`
  DeviceCosts costs;
  int threads = 1;  ///< of the CPU's kernels, where it is the CPU
};
/// What a device is called in the table: what it is, and beside which host, so that a table tells
/// nothing of another machine's.
std::string cost_key(const Device& device, const Device& host);

/// In the user's cache folder, "devices.json"; empty where there is none.
std::filesystem::path cost_table();
struct CostTable {
  std::vector<MeasuredCosts> entries;
  std::string fault;  ///< why there are none, although there is a file
};
CostTable find_costs(const std::filesystem::path& table);
/// Puts these into the table, in place of what it had of them. A table that cannot be read is
/// replaced. Readers see the old one or the new one. Throws DataError where it cannot be written.
void keep_costs(const std::filesystem::path& table, const std::vector<MeasuredCosts>& measured);

/// "50.0 GFLOP/s, 20.0 GB/s, 1.00 us a node".
std::string in_words(const DeviceCosts& costs);

}  // namespace gradgraph

#include "device/device.h"

#include <mutex>

#include "core/text.h"

namespace gradgraph {

void refuse(const Launch& launch, const KernelError& error) {
  const Node& node = *launch.node;
  throw RunError(node_message(node.op().name, node.name(), error.what()), node.where());
}

void execute(const Launch& launch, const KernelArgs& args) {
  try {
    launch.kernel->run(args);
  } catch (const KernelError& error) {
    refuse(launch, error);
  }
}

namespace {
std::mutex& registry_mutex() {
  static std::mutex mutex;
  return mutex;
}
}  // namespace

void DeviceRegistry::add(std::string kind, Open open, std::vector<std::string> names) {
  const std::lock_guard lock(registry_mutex());
  kinds_[std::move(kind)] = {std::move(open), std::move(names)};
}

std::vector<std::string> DeviceRegistry::names() const {
  const std::lock_guard lock(registry_mutex());
  std::vector<std::string> names;
  for (const auto& [kind, devices] : kinds_)
    names.insert(names.end(), devices.names.begin(), devices.names.end());
  return names;
}

std::shared_ptr<Device> DeviceRegistry::open(const std::string& name) {
  const std::lock_guard lock(registry_mutex());
  if (const auto opened = opened_.find(name); opened != opened_.end()) return opened->second;
  for (const auto& [kind, devices] : kinds_)
    for (const std::string& candidate : devices.names)
      if (candidate == name) return opened_[name] = devices.open(name);
  return nullptr;
}

}  // namespace gradgraph

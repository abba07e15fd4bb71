#include "device/kernel.h"

#include <algorithm>

#include "core/text.h"

namespace gradgraph {

std::vector<std::int64_t> KernelSite::static_vector(int i) const {
  const Node& source = node_.input(i).node();
  const Attribute* value = source.attributes().find("value");
  const Tensor* tensor = value ? std::get_if<Tensor>(value) : nullptr;
  if (!tensor || tensor->dtype() != int64)
    throw KernelError(fmt::format("input {} is not known when the plan is made", i));
  const auto values = tensor->span<std::int64_t>();
  return {values.begin(), values.end()};
}

std::string KernelRegistry::key(std::string_view op, std::string_view device_kind, DType dtype) {
  return fmt::format("{}@{}:{}", op, device_kind, dtype);
}

void KernelRegistry::add(std::string_view op, std::string_view device_kind,
                         std::initializer_list<DType> dtypes, Make make) {
  for (const DType dtype : dtypes) {
    Make& reference = kernels_[key(op, device_kind, dtype)].reference;
    if (reference)
      throw BuildError(
          fmt::format("'{}' has a reference kernel for {} on '{}' already; others "
                      "are registered by add_faster",
                      op, dtype, device_kind));
    reference = make;
  }
}

void KernelRegistry::add_faster(std::string_view op, std::string_view device_kind,
                                std::initializer_list<DType> dtypes, Make make) {
  for (const DType dtype : dtypes) kernels_[key(op, device_kind, dtype)].faster.push_back(make);
}

namespace {
bool has_known_shapes(const Node& node) {
  for (const Output& input : node.inputs())
    if (!input.shape().fully_known()) return false;
  for (int i = 0; i < node.num_outputs(); ++i)
    if (!node.shape(i).fully_known()) return false;
  return true;
}
}  // namespace

bool KernelRegistry::supports(const Node& node, std::string_view device_kind) const {
  const auto found = kernels_.find(key(node.op().name, device_kind, kernel_dtype(node)));
  if (found == kernels_.end()) return false;
  if (found->second.reference || !has_known_shapes(node)) return true;
  try {
    return static_cast<bool>(make(KernelSite(node), device_kind));
  } catch (const Error&) {
    return true;  // it takes the node, and will say what is wrong with a value
  } catch (const KernelError&) {
    return true;
  }
}

Kernel KernelRegistry::make(const KernelSite& site, std::string_view device_kind,
                            bool reference) const {
  const Node& node = site.node();
  const auto found = kernels_.find(key(node.op().name, device_kind, site.kernel_dtype()));
  if (found == kernels_.end()) return {};
  const Entry& entry = found->second;
  if (!reference || !entry.reference)
    for (auto make = entry.faster.rbegin(); make != entry.faster.rend(); ++make)
      if (Kernel kernel = (*make)(site)) return kernel;
  return entry.reference ? entry.reference(site) : Kernel{};
}

void KernelRegistry::prefer(std::string_view device_kind, Preferences preferences) {
  preferences_[std::string(device_kind)] = preferences;
}

KernelRegistry::Preferences KernelRegistry::preferences(std::string_view device_kind) const {
  const auto found = preferences_.find(std::string(device_kind));
  return found == preferences_.end() ? Preferences{} : found->second;
}

void KernelRegistry::share(std::string_view kind, std::string_view other,
                           const std::vector<std::string>& except) {
  decltype(kernels_) shared;
  const std::string marker = fmt::format("@{}:", other);
  for (const auto& [key, entry] : kernels_) {
    const auto at = key.find(marker);
    if (at == std::string::npos) continue;
    const std::string op = key.substr(0, at);
    if (std::find(except.begin(), except.end(), op) == except.end() &&
        !op_registry().at(op).traits.runs_subgraphs)
      shared.emplace(fmt::format("{}@{}:{}", op, kind, key.substr(at + marker.size())), entry);
  }
  kernels_.merge(shared);
  prefer(kind, preferences(other));
}

}  // namespace gradgraph

#include "device/kernel.h"

#include <algorithm>

#include "core/text.h"
#include "device/cpu/kernels.h"
#include "device/cpu/rows.h"

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
  for (const DType dtype : dtypes) kernels_[key(op, device_kind, dtype)] = make;
}

const KernelRegistry::Make* KernelRegistry::find(std::string_view op,
                                                 std::string_view device_kind,
                                                 DType dtype) const {
  const auto found = kernels_.find(key(op, device_kind, dtype));
  return found == kernels_.end() ? nullptr : &found->second;
}

void KernelRegistry::share(std::string_view kind, std::string_view other,
                           const std::vector<std::string>& except) {
  std::unordered_map<std::string, Make> shared;
  const std::string marker = fmt::format("@{}:", other);
  for (const auto& [key, make] : kernels_) {
    const auto at = key.find(marker);
    if (at == std::string::npos) continue;
    const std::string op = key.substr(0, at);
    if (std::find(except.begin(), except.end(), op) == except.end())
      shared.emplace(fmt::format("{}@{}:{}", op, kind, key.substr(at + marker.size())), make);
  }
  kernels_.merge(shared);
}

bool can_fuse(const Node& node) {
  return node.num_inputs() > 0 && node.num_inputs() <= 3 &&
         find_row(node.op().name, node.input(node.num_inputs() - 1).dtype(), node.dtype());
}

KernelRegistry& kernel_registry() {
  static KernelRegistry registry = [] {
    KernelRegistry kernels;
    register_cpu_kernels(kernels);
    return kernels;
  }();
  return registry;
}

}  // namespace gradgraph

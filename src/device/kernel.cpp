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
  for (const DType dtype : dtypes) kernels_[key(op, device_kind, dtype)].push_back(make);
}

Kernel KernelRegistry::make(const KernelSite& site, std::string_view device_kind,
                            bool reference) const {
  const Node& node = site.node();
  const auto found = kernels_.find(key(node.op().name, device_kind, site.kernel_dtype()));
  if (found == kernels_.end()) return {};
  const std::vector<Make>& makes = found->second;
  if (!reference)
    for (auto make = makes.rbegin(); make != makes.rend(); ++make)
      if (Kernel kernel = (*make)(site)) return kernel;
  return makes.front()(site);
}

void KernelRegistry::share(std::string_view kind, std::string_view other,
                           const std::vector<std::string>& except) {
  decltype(kernels_) shared;
  const std::string marker = fmt::format("@{}:", other);
  for (const auto& [key, makes] : kernels_) {
    const auto at = key.find(marker);
    if (at == std::string::npos) continue;
    const std::string op = key.substr(0, at);
    if (std::find(except.begin(), except.end(), op) == except.end())
      shared.emplace(fmt::format("{}@{}:{}", op, kind, key.substr(at + marker.size())), makes);
  }
  kernels_.merge(shared);
}

}  // namespace gradgraph

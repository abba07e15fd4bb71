#include "io/weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include "core/text.h"
#include "io/files/at_line.h"
#include "io/files/output_file.h"

namespace gradgraph {

namespace fs = std::filesystem;

SafetensorsFile::SafetensorsFile(const fs::path& path)
    : path_(path.string()), file_(path), header_(parse_safetensors(file_.bytes(), path_)) {}

std::span<const std::byte> SafetensorsFile::bytes_of(const StoredTensor& tensor) const {
  return file_.bytes().subspan(tensor.begin, tensor.bytes);
}

Tensor SafetensorsFile::read(const StoredTensor& tensor) const {
  const auto fail = [&](std::size_t byte, const std::string& fault) {
    throw DataError(fmt::format("{}: at byte {}: '{}': {}", path_, byte, tensor.name, fault));
  };
  if (!tensor.dtype)
    fail(tensor.begin, fmt::format("elements of dtype {} are not supported", tensor.dtype_name));
  const std::span<const std::byte> bytes = bytes_of(tensor);
  if (tensor.dtype == boolean) {
    const auto odd = std::ranges::find_if(bytes, [](std::byte b) { return b > std::byte{1}; });
    if (odd != bytes.end())
      fail(tensor.begin + static_cast<std::size_t>(odd - bytes.begin()),
           fmt::format("{} is no boolean", static_cast<int>(*odd)));
  }
  Tensor value(*tensor.dtype, tensor.shape, {});
  if (!bytes.empty()) std::memcpy(value.raw(), bytes.data(), bytes.size());
  return value;
}

std::vector<std::size_t> safetensors_order(const std::vector<NamedTensor>& tensors,
                                           std::vector<StoredTensor>& stored,
                                           SourceLocation where) {
  std::set<std::string_view> names;
  for (const auto& [name, value] : tensors) {
    if (!value) throw BuildError(fmt::format("'{}' is an empty tensor handle", name), where);
    if (!names.insert(name).second)
      throw BuildError(fmt::format("two tensors have the name '{}'", name), where);
    if (name == "__metadata__")
      throw BuildError("no tensor can have the name '__metadata__', which is the format's",
                       where);
  }
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>(),
                           [&](std::size_t i) { return size_of(tensors[i].value.dtype()); });
  for (const std::size_t i : order) {
    const auto& [name, value] = tensors[i];
    stored.push_back({.name = name,
                      .dtype_name = safetensors_name(value.dtype()),
                      .dtype = value.dtype(),
                      .shape = value.shape(),
                      .bytes = value.bytes()});
  }
  return order;
}

Safetensors read_safetensors(const fs::path& path, SourceLocation where) {
  return at_line(where, [&] {
    const SafetensorsFile file(path);
    Safetensors result{.metadata = file.header().metadata};
    for (const StoredTensor& tensor : file.header().tensors)
      result.tensors.push_back({tensor.name, file.read(tensor)});
    return result;
  });
}

void write_safetensors(const fs::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata, SourceLocation where) {
  std::vector<StoredTensor> stored;
  const std::vector<std::size_t> order = safetensors_order(tensors, stored, where);
  const std::string header = make_safetensors_header(stored, metadata, where);
  at_line(where, [&] {
    OutputFile file(path);
    file.write(header.data(), header.size());
    for (const std::size_t i : order)
      file.write(tensors[i].value.raw(), tensors[i].value.bytes());
    file.commit();
  });
}

}  // namespace gradgraph

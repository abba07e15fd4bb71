#include "io/checkpoint/checkpoint_files.h"

#include <map>
#include <string_view>

#include "core/text.h"
#include "gradgraph/ops.h"
#include "io/files/mapped_file.h"
#include "io/files/output_file.h"
#include "io/weights/safetensors.h"

namespace gradgraph {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVariables = "variables.safetensors";
constexpr const char* kManifest = "manifest.json";

}  // namespace

std::vector<SavedVariable> describe_variables(const std::vector<Output>& variables) {
  std::vector<SavedVariable> result;
  for (const Output& variable : variables) {
    const auto dims = variable.shape().dims();
    result.push_back({.name = variable.name(),
                      .dtype = std::string(name(variable.dtype())),
                      .dims = {dims.begin(), dims.end()},
                      .checksum = {}});
  }
  return result;
}

void write_files(const fs::path& folder, Snapshot& snapshot) {
  Manifest& manifest = snapshot.manifest;
  std::map<std::string_view, SavedVariable*> saved;
  for (SavedVariable& variable : manifest.variables) saved[variable.name] = &variable;

  std::vector<StoredTensor> stored;
  const std::vector<std::size_t> order = safetensors_order(snapshot.values, stored, {});
  const std::string header = make_safetensors_header(stored, {});
  OutputFile variables(folder / kVariables);
  variables.write(header.data(), header.size());
  manifest.header_checksum = checksum(header.data(), header.size());
  manifest.file_bytes = header.size();
  for (const std::size_t i : order) {
    const auto& [name, value] = snapshot.values[i];
    saved.at(name)->checksum = checksum(value.raw(), value.bytes());
    variables.write(value.raw(), value.bytes());
    manifest.file_bytes += value.bytes();
  }
  variables.commit();

  const std::string text = to_text(manifest);
  OutputFile file(folder / kManifest);
  file.write(text.data(), text.size());
  file.commit();
}

bool is_checkpoint(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / kManifest, error);
}

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifest;
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return parse_manifest({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                        path.string());
}

void verify_files(const fs::path& folder, const Manifest& manifest) {
  const fs::path path = folder / kVariables;
  const auto fail = [&](const std::string& fault) {
    throw DataError(fmt::format("{}: {}", path.string(), fault));
  };
  {
    const MappedFile file(path);
    if (file.bytes().size() != manifest.file_bytes)
      fail(fmt::format("{} bytes, where the manifest says {}", file.bytes().size(),
                       manifest.file_bytes));
  }
  const SafetensorsFile file(path);
  if (const auto header = file.header_bytes();
      checksum(header.data(), header.size()) != manifest.header_checksum)
    fail("the checksum of the header is another");
  // The header is the one that was written: each variable with a value is there.
  std::map<std::string_view, std::uint32_t> checksums;
  for (const SavedVariable& variable : manifest.variables)
    if (variable.checksum) checksums[variable.name] = *variable.checksum;
  for (const StoredTensor& tensor : file.header().tensors) {
    const auto bytes = file.bytes_of(tensor);
    const auto wanted = checksums.find(tensor.name);
    if (wanted == checksums.end() || checksum(bytes.data(), bytes.size()) != wanted->second)
      fail(fmt::format("the checksum of '{}', {} bytes from byte {} on, is another", tensor.name,
                       bytes.size(), tensor.begin));
  }
}

void load_files(const fs::path& folder, const Manifest& manifest, Session& session, Graph& graph,
                SourceLocation where) {
  const std::vector<Output> wanted = variables(graph);
  const std::vector<std::string> lines =
      differences(manifest.variables, describe_variables(wanted));
  if (!lines.empty())
    throw DataError(fmt::format("{}: a checkpoint of another graph (of '{}'):\n  {}\n ",
                                folder.string(), manifest.program, fmt::join(lines, "\n  ")),
                    where);
  const SafetensorsFile file(folder / kVariables);
  std::map<std::string, Output> by_name;
  for (const Output& variable : wanted) by_name.emplace(variable.name(), variable);
  for (const StoredTensor& tensor : file.header().tensors)
    session.set_value(by_name.at(tensor.name), file.read(tensor), where);
  session.set_step(manifest.step);
}

}  // namespace gradgraph

#include "io/checkpoint/manifest.h"

#include <zlib.h>

#include <cmath>
#include <ctime>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/text.h"

namespace gradgraph {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;
/// Deeper than any manifest: writing JSON, for its checksum, takes stack by depth.
constexpr int kMaxDepth = 16;

/// JSON has no infinities and no NaN.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(fmt::format("{}", value));
}
double to_number(const Json& json) {
  if (json.is_number()) return json.get<double>();
  const std::string text = json.get<std::string>();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  if (text == "nan" || text == "-nan") return std::numeric_limits<double>::quiet_NaN();
  throw DataError(fmt::format("'{}' is no number", text));
}

Json numbers(const std::map<std::string, double>& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) json[name] = number(value);
  return json;
}
std::map<std::string, double> to_numbers(const Json& json) {
  std::map<std::string, double> values;
  for (const auto& [name, value] : json.items()) values[name] = to_number(value);
  return values;
}

std::string hexadecimal(std::uint32_t sum) { return fmt::format("{:08x}", sum); }
std::uint32_t to_checksum(const Json& json) {
  const std::string text = json.get<std::string>();
  if (text.size() != 8 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw DataError(fmt::format("'{}' is no checksum", text));
  return static_cast<std::uint32_t>(std::stoul(text, nullptr, 16));
}
std::uint32_t checksum(const std::string& text) {
  return gradgraph::checksum(text.data(), text.size());
}

/// Of names, dtypes and shapes alone.
std::string graph_digest(const std::vector<SavedVariable>& variables) {
  std::string lines;
  for (const SavedVariable& variable : variables)
    lines += fmt::format("{} {}\n", variable.name, variable.type());
  return hexadecimal(checksum(lines));
}

Json json_of(const TrainingProgress& progress) {
  return {{"epoch", progress.epoch},         {"position", progress.position},
          {"data_seed", progress.data_seed}, {"metrics", numbers(progress.metrics)},
          {"counts", progress.counts},       {"numbers", numbers(progress.numbers)},
          {"texts", progress.texts}};
}

TrainingProgress to_progress(const Json& json) {
  return {.epoch = json.at("epoch"),
          .position = json.at("position"),
          .data_seed = json.at("data_seed"),
          .metrics = to_numbers(json.at("metrics")),
          .counts = json.at("counts").get<std::map<std::string, std::int64_t>>(),
          .numbers = to_numbers(json.at("numbers")),
          .texts = json.at("texts").get<std::map<std::string, std::string>>()};
}

Json json_of(const SavedVariable& variable) {
  Json json = {{"name", variable.name}, {"dtype", variable.dtype}, {"shape", variable.dims}};
  if (variable.checksum) json["crc32"] = hexadecimal(*variable.checksum);
  return json;
}

SavedVariable to_variable(const Json& json) {
  SavedVariable variable{.name = json.at("name"),
                         .dtype = json.at("dtype"),
                         .dims = json.at("shape").get<std::vector<std::int64_t>>(),
                         .checksum = {}};
  if (json.contains("crc32")) variable.checksum = to_checksum(json.at("crc32"));
  return variable;
}

Manifest to_manifest(const Json& content) {
  Manifest manifest{.number = content.at("number"),
                    .program = content.at("program"),
                    .written = content.at("written"),
                    .step = content.at("step"),
                    .seed = content.at("seed"),
                    .variables = {},
                    .file_bytes = content.at("file_bytes"),
                    .header_checksum = to_checksum(content.at("header_crc32")),
                    .progress = to_progress(content.at("progress"))};
  for (const Json& variable : content.at("variables"))
    manifest.variables.push_back(to_variable(variable));
  return manifest;
}

}  // namespace

std::uint32_t checksum(const void* data, std::size_t bytes) {
  return static_cast<std::uint32_t>(crc32_z(0, static_cast<const unsigned char*>(data), bytes));
}

std::string now_in_words() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::string SavedVariable::type() const {
  return fmt::format("{}[{}]", dtype, fmt::join(dims, ","));
}

std::string to_text(const Manifest& manifest, SourceLocation where) {
  Json content = {{"format", kFormat},
                  {"number", manifest.number},
                  {"program", manifest.program},
                  {"written", manifest.written},
                  {"step", manifest.step},
                  {"seed", manifest.seed},
                  {"graph", graph_digest(manifest.variables)},
                  {"variables", Json::array()},
                  {"file_bytes", manifest.file_bytes},
                  {"header_crc32", hexadecimal(manifest.header_checksum)},
                  {"progress", json_of(manifest.progress)}};
  for (const SavedVariable& variable : manifest.variables)
    content["variables"].push_back(json_of(variable));
  try {
    const std::string sum = hexadecimal(checksum(content.dump()));
    return Json{{"crc32", sum}, {"content", std::move(content)}}.dump(1) + "\n";
  } catch (const Json::exception&) {
    throw BuildError("a text of the training's progress, or a name in it, is no UTF-8", where);
  }
}

Manifest parse_manifest(const std::string& text, const std::string& path) {
  try {
    const Json json = Json::parse(text, [](int depth, Json::parse_event_t, const Json&) {
      if (depth > kMaxDepth) throw DataError("its objects go too deep");
      return true;
    });
    const Json& content = json.at("content");
    // What JSON leaves open, spaces, is not in it.
    if (to_checksum(json.at("crc32")) != checksum(content.dump()))
      throw DataError("its checksum is another");
    if (const std::int64_t format = content.at("format"); format != kFormat)
      throw LaterFormat(
          fmt::format("{}: it is of format {}, and this version of gradgraph reads {}", path,
                      format, kFormat));
    return to_manifest(content);
  } catch (const LaterFormat&) {
    throw;
  } catch (const std::exception& error) {
    throw DataError(fmt::format("{}: {}", path, error.what()));
  }
}

std::vector<std::string> differences(const std::vector<SavedVariable>& saved,
                                     const std::vector<SavedVariable>& wanted) {
  std::map<std::string, std::pair<const SavedVariable*, const SavedVariable*>> by_name;
  for (const SavedVariable& variable : saved) by_name[variable.name].first = &variable;
  for (const SavedVariable& variable : wanted) by_name[variable.name].second = &variable;
  std::vector<std::string> lines;
  for (const auto& [name, pair] : by_name) {
    const auto [there, here] = pair;
    if (!there)
      lines.push_back(fmt::format("it has no '{}', {}", name, here->type()));
    else if (!here)
      lines.push_back(fmt::format("it has '{}', {}, and the graph has not", name, there->type()));
    else if (there->type() != here->type())
      lines.push_back(
          fmt::format("'{}' is {} there and {} in the graph", name, there->type(), here->type()));
  }
  return lines;
}

}  // namespace gradgraph

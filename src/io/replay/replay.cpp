#include "gradgraph/replay.h"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "core/text.h"
#include "gradgraph/ops.h"
#include "gradgraph/weights.h"
#include "io/checkpoint/checkpoint_files.h"
#include "io/checkpoint/checkpoint_folder.h"
#include "io/files/at_line.h"
#include "io/files/output_file.h"

namespace gradgraph {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFeeds = "feeds.safetensors";
/// Among a manifest's counts and texts, with numbers behind them.
constexpr const char *kArgument = "argument", *kFeed = "feed", *kFetch = "fetch";

/// What this process was started with, as far as the system tells.
std::vector<std::string> arguments_of_process() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string argument; std::getline(file, argument, '\0');) arguments.push_back(argument);
  if (!arguments.empty()) arguments.erase(arguments.begin());
  return arguments;
}

std::string numbered(const char* what, std::size_t number) {
  return fmt::format("{} {}", what, number);
}

void put(TrainingProgress& progress, const char* what, const std::vector<std::string>& texts) {
  progress.counts[what] = static_cast<std::int64_t>(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) progress.texts[numbered(what, i)] = texts[i];
}

template <class T>
const T& find(const fs::path& folder, const std::map<std::string, T>& values,
              const std::string& name) {
  const auto found = values.find(name);
  if (found == values.end())
    throw DataError(
        fmt::format("{}: no bundle: its manifest has no '{}'", folder.string(), name));
  return found->second;
}

std::vector<std::string> take(const fs::path& folder, const TrainingProgress& progress,
                              const char* what) {
  const std::int64_t count = find(folder, progress.counts, what);
  std::vector<std::string> texts;
  for (std::int64_t i = 0; i < count; ++i)
    texts.push_back(find(folder, progress.texts, numbered(what, static_cast<std::size_t>(i))));
  return texts;
}

Snapshot take_snapshot(Session& session, Graph& graph, const NumericsError& error,
                       SourceLocation where) {
  Snapshot snapshot;
  Manifest& manifest = snapshot.manifest;
  manifest.number = 1;
  manifest.program = program_invocation_short_name;
  manifest.written = now_in_words();
  manifest.step = error.run ? error.run->step : session.step();
  manifest.seed = session.seed();
  const std::vector<Output> all = variables(graph);
  manifest.variables = describe_variables(all);
  for (const Output& variable : all)  // others get the same initial value again
    if (session.is_initialized(variable, where))
      snapshot.values.push_back({variable.name(), session.value(variable, where)});
  TrainingProgress& progress = manifest.progress;
  progress.texts["error"] = error.what();
  progress.counts["precision"] = static_cast<std::int64_t>(session.options().precision);
  put(progress, kArgument, arguments_of_process());
  put(progress, kFetch, error.run ? error.run->fetches : std::vector<std::string>{});
  std::vector<std::string> feeds;
  if (error.run)
    for (const auto& [name, value] : error.run->feeds) {
      progress.counts[numbered(kFeed, feeds.size())] = checksum(value.raw(), value.bytes());
      feeds.push_back(name);
    }
  put(progress, kFeed, feeds);
  return snapshot;
}

/// An output by the name that Output::name gives.
Output find_output(Graph& graph, const std::string& name) {
  if (Node* node = graph.find(name)) return {*node, 0};
  const auto colon = name.rfind(':');
  if (colon == std::string::npos) return {};
  Node* node = graph.find(name.substr(0, colon));
  for (int i = 1; node && i < node->num_outputs(); ++i)
    if (node->output(i).name() == name) return node->output(i);
  return {};
}

Bundle bundle_of(const fs::path& folder) {
  const Manifest manifest = read_manifest(folder);
  const TrainingProgress& progress = manifest.progress;
  Bundle bundle{.program = manifest.program,
                .arguments = take(folder, progress, kArgument),
                .error = find(folder, progress.texts, "error"),
                .step = manifest.step,
                .seed = manifest.seed,
                .precision = {},
                .feeds = {},
                .fetches = take(folder, progress, kFetch)};
  const std::int64_t precision = find(folder, progress.counts, "precision");
  if (precision < 0 || precision > static_cast<std::int64_t>(Precision::fp16))
    throw DataError(fmt::format("{}: there is no precision {}", folder.string(), precision));
  bundle.precision = static_cast<Precision>(precision);
  const fs::path path = folder / kFeeds;
  std::map<std::string, Tensor> stored;
  for (NamedTensor& tensor : read_safetensors(path, {}).tensors)
    stored.emplace(std::move(tensor.name), std::move(tensor.value));
  const std::vector<std::string> names = take(folder, progress, kFeed);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Tensor& value = find(path, stored, names[i]);
    if (find(folder, progress.counts, numbered(kFeed, i)) != checksum(value.raw(), value.bytes()))
      throw DataError(
          fmt::format("{}: the checksum of '{}' is another", path.string(), names[i]));
    bundle.feeds.push_back({names[i], value});
  }
  return bundle;
}

}  // namespace

fs::path save_bundle(Session& session, Graph& graph, const NumericsError& error,
                     const fs::path& directory, SourceLocation where) {
  Snapshot snapshot = take_snapshot(session, graph, error, where);
  std::vector<NamedTensor> feeds;
  if (error.run)
    for (const auto& [name, value] : error.run->feeds) feeds.push_back({name, value});
  return at_line(where, [&] {
    std::error_code fault;
    const fs::path place =
        fs::absolute(directory, fault) / checkpoint_name(snapshot.manifest.step);
    fs::create_directories(directory, fault);
    if (fault) fail_system(directory, "cannot be made", fault.value());
    write_folder(place, [&](const fs::path& folder) {
      write_safetensors(folder / kFeeds, feeds, {}, where);
      write_files(folder, snapshot);
    });
    return directory / place.filename();
  });
}

Bundle read_bundle(const fs::path& folder, SourceLocation where) {
  return at_line(where, [&] { return bundle_of(folder); });
}

void replay(Graph& graph, const fs::path& folder, SessionOptions options, SourceLocation where) {
  const Bundle bundle = read_bundle(folder, where);
  options.seed = bundle.seed;
  options.precision = bundle.precision;
  options.check_numerics = true;
  options.check_passes = options.node_times = false;
  Session session(graph, options, where);
  at_line(where, [&] {
    const Manifest manifest = read_manifest(folder);
    verify_files(folder, manifest);
    load_files(folder, manifest, session, graph, where);
  });
  const auto output = [&](const std::string& name) {
    if (const Output found = find_output(graph, name)) return found;
    throw DataError(fmt::format("{}: the graph has no '{}'", folder.string(), name), where);
  };
  Feeds feeds;
  for (const auto& [name, value] : bundle.feeds) feeds.emplace_back(output(name), value);
  std::vector<Output> fetches;
  for (const std::string& name : bundle.fetches) fetches.push_back(output(name));
  if (fetches.empty())
    session.initialize(where);
  else
    session.run(feeds, fetches, where);
}

}  // namespace gradgraph

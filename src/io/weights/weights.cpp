#include "gradgraph/weights.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "core/text.h"
#include "gradgraph/npy.h"
#include "gradgraph/op.h"
#include "gradgraph/ops.h"
#include "io/files/at_line.h"
#include "io/weights/conventions.h"
#include "io/weights/safetensors.h"

namespace gradgraph {
namespace {

namespace fs = std::filesystem;

std::vector<Output> chosen(Graph& graph, const std::vector<Output>& variables,
                           SourceLocation where) {
  if (variables.empty()) return model_variables(graph);
  std::set<const Node*> seen;
  for (const Output& variable : variables) {
    if (!variable) throw BuildError("a variable is empty", where);
    if (&variable.graph() != &graph)
      throw BuildError(fmt::format("'{}' is of another graph", variable.name()), where);
    if (variable.node().op().name != "variable")
      throw BuildError(
          fmt::format("'{}' is a {}, no variable", variable.name(), variable.node().op().name),
          where);
    if (!seen.insert(&variable.node()).second)
      throw BuildError(fmt::format("'{}' is given twice", variable.name()), where);
  }
  return variables;
}

bool is_npz(const fs::path& path) { return path.extension() == ".npz"; }

/// A file's tensors, by what it says of them.
class WeightsFile {
 public:
  explicit WeightsFile(const fs::path& path) {
    if (is_npz(path))
      arrays_ = read_npz(path, {});
    else
      mapped_.emplace(path);
    for (const auto& [name, value] : arrays_)
      described_.push_back({.name = name,
                            .dtype_name = std::string(gradgraph::name(value.dtype())),
                            .dtype = value.dtype(),
                            .shape = value.shape()});
  }

  const std::vector<StoredTensor>& tensors() const {
    return mapped_ ? mapped_->header().tensors : described_;
  }
  /// One of `tensors()`.
  Tensor read(const StoredTensor& tensor) const {
    if (mapped_) return mapped_->read(tensor);
    return arrays_[static_cast<std::size_t>(&tensor - described_.data())].value;
  }

 private:
  std::optional<SafetensorsFile> mapped_;
  std::vector<NamedTensor> arrays_;
  std::vector<StoredTensor> described_;  ///< of `arrays_`
};

/// One file's tensors on their way into variables: first all is compared, then all is loaded.
class Loader {
 public:
  Loader(Graph& graph, const fs::path& path, const LoadOptions& options, SourceLocation where)
      : path_(path.string()), file_(path), options_(options), where_(where) {
    for (const Output& variable : chosen(graph, options.variables, where))
      variables_.emplace(variable.name(), variable);
    for (const StoredTensor& tensor : file_.tensors()) match(tensor);
    for (const auto& [name, variable] : variables_)
      if (!matches_.contains(name)) report_.missing.push_back(name);
    check();
  }

  LoadReport load(Session& session) {
    // All is read before the first variable changes.
    for (auto& [name, match] : matches_)
      if (!match.value) match.value = read(name, *match.stored);
    for (const auto& [name, match] : matches_) {
      const Output& variable = variables_.at(name);
      const bool converts = match.value.dtype() != variable.dtype();
      session.set_value(variable, converts ? match.value.cast(variable.dtype()) : match.value,
                        where_);
      report_.loaded.push_back({name, match.stored->name, converts});
    }
    return report_;
  }

 private:
  struct Match {
    const StoredTensor* stored = nullptr;
    Tensor value;  ///< where it had to be read to know its shape
  };

  void match(const StoredTensor& tensor) {
    const std::string wanted = options_.names(tensor.name);
    const std::string* found = nullptr;
    for (const std::string& name : variable_names(options_.convention, wanted))
      if (const auto variable = variables_.find(name); !found && variable != variables_.end())
        found = &variable->first;
    if (wanted.empty() || (!found && is_dropped(options_.convention, wanted))) {
      report_.left_out.push_back(tensor.name);
    } else if (!found) {
      report_.unexpected.push_back(tensor.name);
      unexpected_.push_back(
          fmt::format("'{}' {}{}", tensor.name, tensor.dtype_name, tensor.shape));
    } else if (const auto [at, is_new] = matches_.emplace(*found, Match{&tensor, {}}); !is_new) {
      unfit_.push_back(fmt::format("'{}' would take both '{}' and '{}'", *found,
                                   at->second.stored->name, tensor.name));
    } else {
      check_fit(*found, at->second);
    }
  }

  Tensor read(const std::string& name, const StoredTensor& stored) const {
    const Tensor tensor = file_.read(stored);
    return is_reversed(options_.convention, name, tensor.shape()) ? from_reversed(tensor)
                                                                  : tensor;
  }

  void check_fit(const std::string& name, Match& match) {
    const StoredTensor& stored = *match.stored;
    const Output& variable = variables_.at(name);
    std::optional<DType> dtype = stored.dtype;
    Shape shape = is_reversed(options_.convention, name, stored.shape)
                      ? from_reversed(stored.shape)
                      : stored.shape;
    if (options_.transform) {
      match.value = options_.transform(name, read(name, stored));
      if (!match.value) {
        unfit_.push_back(fmt::format("'{}': `transform` gives an empty tensor", name));
        return;
      }
      dtype = match.value.dtype(), shape = match.value.shape();
    }
    const bool takes = dtype && (*dtype == variable.dtype() ||
                                 (is_floating(*dtype) && is_floating(variable.dtype())));
    if (takes && shape == variable.shape()) return;
    std::string text =
        fmt::format("'{}' is {}{}, '{}' {}{}", name, variable.dtype(), variable.shape(),
                    stored.name, stored.dtype_name, stored.shape);
    if (shape != stored.shape) text += fmt::format(", which gives {}", shape);
    unfit_.push_back(std::move(text));
  }

  void check() const {
    std::string text;
    const auto add = [&](const char* what, const auto& names) {
      if (!names.empty()) text += fmt::format("\n  {}: {}", what, fmt::join(names, ", "));
    };
    if (options_.strict || matches_.empty()) {
      std::vector<std::string> missing;
      for (const std::string& name : report_.missing) {
        const Output& variable = variables_.at(name);
        missing.push_back(fmt::format("'{}' {}{}", name, variable.dtype(), variable.shape()));
      }
      add("missing in the file", missing);
      add("unexpected in the file", unexpected_);
    }
    if (options_.strict) {
      std::vector<std::string> stored, unused;
      for (const StoredTensor& tensor : file_.tensors()) stored.push_back(tensor.name);
      for (const std::string& pattern : options_.names.fitting_none(stored))
        unused.push_back(fmt::format("'{}'", pattern));
      add("in the name map, but fitting no name in the file", unused);
    }
    add("misshapen", unfit_);
    if (text.empty() && !matches_.empty()) return;
    if (matches_.empty()) text += "\n  no tensor has a variable's name: give a name map";
    throw DataError(fmt::format("{}: does not fit the graph:{}\n ", path_, text), where_);
  }

  std::string path_;
  WeightsFile file_;
  const LoadOptions& options_;
  SourceLocation where_;
  std::map<std::string, Output> variables_;
  std::map<std::string, Match> matches_;  ///< by variable
  std::vector<std::string> unexpected_, unfit_;
  LoadReport report_;
};

}  // namespace

std::vector<Output> model_variables(Graph& graph) {
  std::vector<Output> result = variables(graph);
  // Optimisers make theirs while they build updates.
  std::erase_if(result,
                [](const Output& variable) { return variable.node().phase() != Phase::forward; });
  return result;
}

std::string LoadReport::to_string() const {
  const auto converted = std::ranges::count_if(loaded, &Loaded::is_converted);
  std::string text = fmt::format("{} tensors loaded", loaded.size());
  if (converted > 0) text += fmt::format(", {} of them converted", converted);
  const auto add = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty()) text += fmt::format("; {}: {}", what, fmt::join(names, ", "));
  };
  add("missing", missing);
  add("unexpected", unexpected);
  add("left out", left_out);
  return text;
}

LoadReport load_weights(Session& session, Graph& graph, const fs::path& path,
                        const LoadOptions& options, SourceLocation where) {
  return at_line(where, [&] { return Loader(graph, path, options, where).load(session); });
}

void save_weights(Session& session, Graph& graph, const fs::path& path,
                  const SaveOptions& options, SourceLocation where) {
  const auto fail = [&](const std::string& message) {
    throw BuildError(fmt::format("save_weights: '{}': {}", path.string(), message), where);
  };
  if (!is_npz(path) && path.extension() != ".safetensors")
    fail("weights are written as .safetensors or .npz");
  std::vector<NamedTensor> tensors;
  std::vector<std::string> names;
  for (const Output& variable : chosen(graph, options.variables, where)) {
    const std::string& name = variable.name();
    names.push_back(name);
    const std::string mapped = options.names(name);
    if (mapped.empty()) continue;
    Tensor value = session.value(variable, where);
    if (is_reversed(options.convention, name, value.shape())) value = to_reversed(value);
    tensors.push_back({stored_name(options.convention, mapped), std::move(value)});
  }
  if (const auto unused = options.names.fitting_none(names); !unused.empty())
    fail(fmt::format("of the name map, '{}' fits no variable", fmt::join(unused, "', '")));
  if (!is_npz(path)) return write_safetensors(path, tensors, options.metadata, where);
  if (!options.metadata.empty())
    fail("a .npz file has no place for metadata; a .safetensors file has");
  write_npz(path, tensors, {}, where);
}

}  // namespace gradgraph

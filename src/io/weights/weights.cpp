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
    for (const Output& variable : variables(graph)) names_.insert(variable.name());
    for (const Output& variable : chosen(graph, options.variables, where))
      variables_.emplace(variable.name(), variable);
    for (const StoredTensor& tensor : file_.tensors()) match(tensor);
    for (auto& [name, match] : matches_) check_fit(name, match);
    for (const auto& [name, variable] : variables_)
      if (!matches_.contains(name)) report_.missing.push_back(name);
    check();
  }

  LoadReport load(Session& session) {
    // All is read before the first variable changes.
    for (auto& [name, match] : matches_)
      if (!match.value) match.value = read(name, match);
    for (const auto& [name, match] : matches_) {
      const Output& variable = variables_.at(name);
      const bool converts = match.value.dtype() != variable.dtype();
      session.set_value(variable, converts ? match.value.cast(variable.dtype()) : match.value,
                        where_);
      report_.loaded.push_back({name, match.names(), converts});
    }
    return report_;
  }

 private:
  struct Piece {
    const StoredTensor* stored;
    Share share;
  };
  struct Match {
    std::vector<Piece> pieces;  ///< several are added up
    Tensor value;               ///< where it had to be read to know its shape

    std::string names() const {
      std::string text;
      for (const Piece& piece : pieces) text += (text.empty() ? "" : " + ") + piece.stored->name;
      return text;
    }
  };

  void match(const StoredTensor& tensor) {
    const std::string wanted = options_.names(tensor.name);
    if (wanted.empty()) {
      report_.left_out.push_back(tensor.name);
      return;
    }
    const std::vector<Share> shares = shares_of(options_.convention, wanted, names_);
    std::size_t found = 0;
    for (const Share& share : shares) {
      const auto name = std::ranges::find_if(
          share.variables, [&](const std::string& each) { return variables_.contains(each); });
      if (name == share.variables.end()) continue;
      ++found;
      add(*name, {&tensor, share});
    }
    if (found == shares.size()) return;
    if (found == 0 && is_dropped(options_.convention, wanted)) {
      report_.left_out.push_back(tensor.name);
    } else {
      report_.unexpected.push_back(tensor.name);
      unexpected_.push_back(
          fmt::format("'{}' {}{}", tensor.name, tensor.dtype_name, tensor.shape));
    }
  }
  void add(const std::string& name, const Piece& piece) {
    std::vector<Piece>& pieces = matches_[name].pieces;
    const bool completes = pieces.size() == 1 && pieces[0].share.term >= 0 &&
                           piece.share.term == 1 - pieces[0].share.term;
    if (pieces.empty() || completes)
      pieces.push_back(piece);
    else
      unfit_.push_back(fmt::format("'{}' would take both '{}' and '{}'", name,
                                   pieces[0].stored->name, piece.stored->name));
  }

  Tensor read(const std::string& name, const Match& match) const {
    Tensor value;
    for (const Piece& piece : match.pieces) {
      const Tensor part =
          take_share(options_.convention, name, file_.read(*piece.stored), piece.share);
      value = value ? added(value, part, variables_.at(name).dtype()) : part;
    }
    return value;
  }

  void check_fit(const std::string& name, Match& match) {
    if (match.pieces.size() == 1 && match.pieces[0].share.term >= 0) {
      unfit_.push_back(fmt::format("'{}' is the sum of two biases, and '{}' is one of them", name,
                                   match.pieces[0].stored->name));
      return;
    }
    for (const Piece& piece : match.pieces) {
      const StoredTensor& stored = *piece.stored;
      const std::optional<Shape> shape =
          shape_of_share(options_.convention, name, stored.shape, piece.share);
      const bool is_added = match.pieces.size() > 1;
      if (!shape || (is_added && (!takes(name, stored.dtype, *shape) ||
                                  !is_floating(variables_.at(name).dtype()))))
        return add_unfit(name, stored, shape.value_or(stored.shape));
      if (!options_.transform && !takes(name, stored.dtype, *shape))
        return add_unfit(name, stored, *shape);
    }
    if (!options_.transform) return;
    match.value = options_.transform(name, read(name, match));
    if (!match.value)
      unfit_.push_back(fmt::format("'{}': `transform` gives an empty tensor", name));
    else if (!takes(name, match.value.dtype(), match.value.shape()))
      add_unfit(name, *match.pieces[0].stored, match.value.shape());
  }
  bool takes(const std::string& name, std::optional<DType> dtype, const Shape& shape) const {
    const Output& variable = variables_.at(name);
    return shape == variable.shape() && dtype &&
           (*dtype == variable.dtype() || (is_floating(*dtype) && is_floating(variable.dtype())));
  }
  void add_unfit(const std::string& name, const StoredTensor& stored, const Shape& shape) {
    const Output& variable = variables_.at(name);
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
  std::set<std::string> names_;  ///< of all variables of the graph
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
    tensors.push_back({mapped, session.value(variable, where)});
  }
  if (const auto unused = options.names.fitting_none(names); !unused.empty())
    fail(fmt::format("of the name map, '{}' fits no variable", fmt::join(unused, "', '")));
  std::set<std::string> all;
  for (const Output& variable : variables(graph)) all.insert(options.names(variable.name()));
  tensors = to_stored(options.convention, tensors, all);
  if (!is_npz(path)) return write_safetensors(path, tensors, options.metadata, where);
  if (!options.metadata.empty())
    fail("a .npz file has no place for metadata; a .safetensors file has");
  write_npz(path, tensors, {}, where);
}

}  // namespace gradgraph

#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/named_tensor.h"
#include "gradgraph/session.h"
#include "gradgraph/tensor.h"

/// Weights in files that others read and write, too. A file is written beside its place and moved
/// there when all of it is on the disk: there is the old one or the new one, never a part.
namespace gradgraph GRADGRAPH_API {

/// What a safetensors file holds.
struct Safetensors {
  std::vector<NamedTensor> tensors;  ///< in the order in which they are stored
  std::map<std::string, std::string> metadata;
};

/// Reads a safetensors file through a memory map. Every field of its header is checked against
/// the file's size before memory is taken: DataError with the file, the byte and the reason for
/// one that is cut, padded or contradicts itself, and for elements that no DType holds (8-bit
/// floats, complex and unsigned numbers, int8 and int16) or more than Shape::kMaxRank axes.
/// Source: github.com/huggingface/safetensors, "Format".
Safetensors read_safetensors(const std::filesystem::path& path,
                             SourceLocation where = SourceLocation::current());
/// Writes such a file, larger elements first, so that all are aligned. Throws BuildError for an
/// empty tensor handle, for names that repeat or are no UTF-8, DataError where the file cannot be
/// written.
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {},
                       SourceLocation where = SourceLocation::current());

/// The variables that make a model what it is: trainable ones and those that layers move
/// themselves (batch_norm's running averages), without optimisers' state.
std::vector<Output> model_variables(Graph& graph);

/// How a library names and stores what the layers of nn.h have.
enum class Convention : std::uint8_t {
  gradgraph,  ///< "fc1/kernel", as it is
  /// "fc1/kernel", with ":0" behind it or not; gamma, beta, moving_mean, moving_variance and
  /// embeddings are scale, offset, running_mean, running_variance and table. Layouts are ours.
  keras,
  /// "fc1.weight" is a kernel, scale or table, "fc1.bias" a bias or an offset, "running_var" a
  /// running_variance; "num_batches_tracked" is left out. What is called kernel or ends in
  /// "_kernel" has its axes reversed: [out,in] is our [in,out], [out,in,height,width] our
  /// [height,width,in,out]. What PyTorch flattens has its channels first: transpose to [N,C,H,W]
  /// before `flatten`, too. "weight_ih_l0", "in_proj_weight" and the like are those of Lstm, Gru
  /// and MultiHeadAttention; an LSTM's two biases are added up, and its second written as zeros.
  pytorch,
};

template <class F>
concept RenamingFunction = std::convertible_to<F, std::function<std::string(const std::string&)>>;

/// Gives one name for another. An empty one leaves out what has it.
class NameMap {
 public:
  using Function = std::function<std::string(const std::string&)>;
  using Patterns = std::vector<std::pair<std::string, std::string>>;

  NameMap() = default;
  template <RenamingFunction F>
  NameMap(F function) : function_(std::move(function)) {}  // NOLINT: implicit
  /// Patterns and what becomes of a name that fits: {{"features.0.*", "conv1.*"}}. A `*` stands
  /// for any characters, the n-th in the new name for what the n-th one found. The first that
  /// fits counts; a name that none fits stays. Throws BuildError for a new name with more stars
  /// than its pattern has.
  NameMap(Patterns patterns,  // NOLINT: implicit
          SourceLocation where = SourceLocation::current());
  NameMap(std::initializer_list<Patterns::value_type> patterns,
          SourceLocation where = SourceLocation::current())
      : NameMap(Patterns(patterns), where) {}

  std::string operator()(const std::string& name) const;
  /// The patterns that fit none of `names`: mistyped, mostly.
  std::vector<std::string> fitting_none(const std::vector<std::string>& names) const;

 private:
  Function function_;
  Patterns patterns_;
};

struct LoadOptions {
  /// The variables that take values; when empty, model_variables.
  std::vector<Output> variables = {};
  /// Every variable must be in the file, all that is in the file in a variable, and each pattern
  /// of `names` must fit something. Otherwise LoadReport says what is not.
  bool strict = true;
  /// From names in the file to names of variables, or to those that `convention` knows.
  NameMap names = {};
  Convention convention = Convention::gradgraph;
  /// What a variable takes in place of the stored tensor, after the convention's own changes.
  std::function<Tensor(const std::string& variable, const Tensor& stored)> transform = {};
};

/// What became of a file's tensors and of the variables.
struct LoadReport {
  struct Loaded {
    std::string variable, stored;  ///< names: of the variable and in the file
    bool is_converted = false;     ///< from another floating dtype
  };
  std::vector<Loaded> loaded;
  std::vector<std::string> missing;     ///< variables that the file has nothing for
  std::vector<std::string> unexpected;  ///< tensors that no variable takes
  std::vector<std::string> left_out;    ///< tensors that the name map or the convention drops

  /// "12 tensors loaded, 2 of them converted; missing: fc2/kernel, fc2/bias".
  std::string to_string() const;
};

/// Gives variables their values from a safetensors file, or one of NumPy's whose name ends in
/// ".npz". A floating dtype is converted to the variable's. Throws DataError that lists all
/// missing, unexpected and misshapen names, or says what is wrong with the file; the session is
/// then as it was. Also where nothing would be loaded at all.
/// Source: torch.nn.Module.load_state_dict.
LoadReport load_weights(Session& session, Graph& graph, const std::filesystem::path& path,
                        const LoadOptions& options = {},
                        SourceLocation where = SourceLocation::current());

struct SaveOptions {
  /// When empty, model_variables.
  std::vector<Output> variables = {};
  /// From names of variables to names in the file, before `convention`.
  NameMap names = {};
  Convention convention = Convention::gradgraph;
  std::map<std::string, std::string> metadata = {};
};

/// Writes variables' values to a file "NAME.safetensors", or one of NumPy's, "NAME.npz", which
/// holds no metadata; variables without a value get their first value. Throws BuildError for
/// another ending and for a pattern of `names` that fits no variable, and as write_safetensors
/// and write_npz.
void save_weights(Session& session, Graph& graph, const std::filesystem::path& path,
                  const SaveOptions& options = {},
                  SourceLocation where = SourceLocation::current());

}  // namespace gradgraph

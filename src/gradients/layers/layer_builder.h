#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gradgraph/nn.h"

namespace gradgraph::nn {

/// What applications of a module share.
struct ModuleState {
  std::string name;
  Graph* graph = nullptr;  ///< of the first application
  std::vector<std::pair<std::string, Output>> variables;
};

/// One layer while it is being built: its scope, its variables, its line.
class LayerBuilder {
 public:
  LayerBuilder(std::string_view kind, std::string_view name, const Output& x,
               SourceLocation where);
  /// The same for an application of `module`, which has its variables already if it is not the
  /// first one.
  LayerBuilder(std::string_view kind, const Module& module, const Output& x,
               SourceLocation where);

  void require(bool condition, const std::string& message) const;
  void require_floating(const Output& x) const;
  void require_training(const Output& training) const;
  void require_epsilon(double epsilon) const;
  void require_rate(double rate) const;
  void require_border(Padding padding, const Border& border) const;
  /// The known size of `axis`, which variables are made for.
  std::int64_t size(const Output& x, int axis) const;

  Output trainable(std::string_view name, const Shape& shape, DType dtype,
                   const Initializer& initializer) {
    return take_or_make(layer_.trainable, name, shape, dtype, initializer);
  }
  Output tracked(std::string_view name, const Shape& shape, DType dtype,
                 const Initializer& initializer) {
    return take_or_make(layer_.tracked, name, shape, dtype, initializer);
  }
  /// Whether the module was applied before.
  bool is_repeated() const { return state_ && !state_->variables.empty(); }

  /// An op that moves what is tracked.
  void add_update(const Output& update) { layer_.updates.push_back(update); }

  Output finish(Output output, const Activation& activation = {});

 private:
  Output take_or_make(std::vector<Output>& list, std::string_view name, const Shape& shape,
                      DType dtype, const Initializer& initializer);
  Output make_variable(std::string_view name, const Shape& shape, DType dtype,
                       const Initializer& initializer);
  Output initial_value(std::string_view name, const Shape& shape, DType dtype,
                       const Initializer& initializer);

  Graph& graph_;
  BuildTransaction transaction_;
  ContextGuard guard_;
  SourceLocation where_;
  Layer layer_;
  std::shared_ptr<ModuleState> state_;
  std::vector<std::pair<std::string, Output>> made_;  ///< becomes the state's at the end
};

}  // namespace gradgraph::nn

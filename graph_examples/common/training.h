#pragma once

#include <vector>

#include "common/program.h"
#include "gradgraph/gradgraph.h"

namespace examples {

/// The data set that the flags name, or the first one found; as much of it as --limit says.
gradgraph::data::Mnist load_mnist(const Flags& flags);

/// Prints the table of layers and a line on data and device. When asked to, draws what `fetches`
/// need into the --dot file, and explains where it runs.
void report(const Flags& flags, const gradgraph::data::Mnist& mnist,
            const gradgraph::Graph& graph, gradgraph::Session& session,
            const std::vector<gradgraph::Output>& feeds,
            const std::vector<gradgraph::Output>& fetches);

/// What is trained: a graph's parts.
struct Model {
  gradgraph::data::GraphBatch batch;
  gradgraph::Output training = {};  ///< a scalar bool, if the model acts differently in training
  gradgraph::Output loss, accuracy;
  gradgraph::Output train;

  std::vector<gradgraph::Output> results() const { return {loss, accuracy, train}; }
};

/// The epoch loop: steps of training on all batches of the shuffled training data, then loss and
/// accuracy on the validation data, then the log line; at the end what --trace and --profile ask
/// for. On a GPU the data set lies in its memory, and --steps-per-launch steps are one call;
/// elsewhere batches are made ahead and fed. `model.batch` has the training data, then the
/// validation data. Returns the exit status: 0, or 130 after Ctrl-C.
int run_epochs(const Flags& flags, const gradgraph::data::Mnist& mnist,
               gradgraph::Session& session, const Model& model);

}  // namespace examples

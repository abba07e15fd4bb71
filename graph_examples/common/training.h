#pragma once

#include <functional>
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

/// Runs a batch and returns at least {loss, accuracy}.
using RunBatch =
    std::function<const std::vector<gradgraph::Tensor>&(const gradgraph::data::Batch& batch)>;

/// The epoch loop: `train` on every batch of the shuffled training data, then `validate` on the
/// validation data, then the log line; at the end what --trace and --profile ask for, of the
/// training steps that `session` ran. Returns the exit status: 0, or 130 after Ctrl-C.
int run_epochs(const Flags& flags, const gradgraph::data::Mnist& mnist,
               const gradgraph::Session& session, const RunBatch& train,
               const RunBatch& validate);

}  // namespace examples

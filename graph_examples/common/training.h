#pragma once

#include <vector>

#include "common/program.h"
#include "gradgraph/gradgraph.h"

namespace examples {

/// The data set that the flags name, or the first one found; as much of it as --limit says.
gradgraph::data::Mnist load_mnist(const Flags& flags);

/// Prints the table of layers and a line on data and device, draws and explains what the flags
/// ask for, then trains as they say, and prints the profile. `step.batch` has the training data,
/// then the validation data. Returns the exit status: 0, or 130 after Ctrl-C.
int train(const Flags& flags, const gradgraph::data::Mnist& mnist, gradgraph::Session& session,
          const gradgraph::TrainingStep& step);

}  // namespace examples

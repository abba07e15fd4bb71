#pragma once

#include <string>

#include "gradgraph/gradgraph.h"

/// What the programs on MNIST share.
namespace examples {

/// What --help says of its data.
inline const std::string kMnistFlag = "Directory with the four MNIST files";
inline const std::string kAboutMnist =
    "Data: --data, else $MNIST_DIR, else data/mnist, else the folder that `./run` downloads to, "
    "else\nDebian's Fashion-MNIST. A line before the first epoch says which.";

/// The data set that the flags name, or the first one found; as much of it as --limit says.
inline gg::TrainingData load_mnist(const gg::TrainingFlags& flags) {
  const gg::data::Mnist mnist = gg::data::find_mnist(flags.data);
  return {.training = mnist.train.first(flags.limit),
          .validation = mnist.test.first(flags.limit),
          .source = mnist.source};
}

}  // namespace examples

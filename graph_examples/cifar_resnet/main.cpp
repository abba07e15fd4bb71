/// ResNet-20 on CIFAR-10, or on coloured shapes that it draws where there is no CIFAR-10.
#include <cstdio>
#include <string>
#include <vector>

#include "cifar_resnet/shapes.h"
#include "gradgraph/gradgraph.h"

namespace {

gg::TrainingData load(const gg::TrainingFlags& flags) {
  gg::TrainingData data;
  if (flags.data.empty()) {
    data = {shapes::make(4000, 1), shapes::make(500, 2), "shapes made here (--data: CIFAR-10)"};
  } else {
    const gg::data::Cifar cifar = gg::data::read_cifar10(flags.data);
    data = {cifar.train, cifar.test, "CIFAR-10 in " + cifar.directory.string()};
  }
  data.training = data.training.first(flags.limit);
  data.validation = data.validation.first(flags.limit);
  return data;
}

/// Layers that are made one by one and applied at once, with what all of them share.
struct Layers {
  gg::Output training;

  gg::Output convolution(gg::Output x, std::int64_t filters, std::int64_t stride,
                         std::int64_t size = 3) const {
    const gg::nn::Conv2d convolve({.filters = filters,
                                   .kernel = size,
                                   .strides = stride,
                                   .padding = gg::Padding::same,
                                   .use_bias = false,
                                   .kernel_initializer = gg::nn::he_normal()});
    // In training the batch's mean and variance, of which the layer keeps running averages.
    const gg::nn::BatchNorm normalize({.training = training, .momentum = 0.9, .epsilon = 1e-5});
    return normalize(convolve(x)).output;
  }

  /// Two convolutions, added to what comes in. Source: He et al. 2016.
  gg::Output block(gg::Output x, std::int64_t filters, std::int64_t stride,
                   const std::string& name) const {
    const auto scope = gg::scope(x.graph(), name);
    auto y = gg::relu(convolution(x, filters, stride));
    y = convolution(y, filters, 1);
    if (stride != 1) x = convolution(x, filters, stride, 1);
    return gg::relu(x + y);
  }
};

int run(const gg::TrainingFlags& flags) {
  const gg::TrainingData data = load(flags);

  gg::Graph graph;
  const auto images = gg::placeholder(graph, gg::float32, {gg::any, 32, 32, 3}, "images");
  const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
  const auto training = gg::placeholder(graph, gg::boolean, {}, "training");

  // 19 convolutions in stages of 16, 32 and 64 filters, and a dense layer.
  const Layers layers = {training};
  auto x = gg::relu(layers.convolution(images, 16, 1));
  for (int stage = 0; stage < 3; ++stage)
    for (int i = 0; i < 3; ++i)
      x = layers.block(x, 16 << stage, stage > 0 && i == 0 ? 2 : 1,
                       "stage" + std::to_string(stage + 1) + "_block" + std::to_string(i + 1));
  const auto logits = gg::nn::dense(gg::mean(x, {1, 2}), {.units = 10}, "logits");

  const auto losses = gg::sparse_softmax_cross_entropy(logits, labels);
  const auto loss = gg::named(gg::mean(losses), "loss");
  const auto correct = gg::cast(gg::equal(gg::argmax(logits, -1), labels), gg::float32);
  const auto accuracy = gg::named(gg::mean(correct), "accuracy");
  const auto train_op = gg::make_optimizer(flags, data.training.size()).minimize(loss);

  // Each image is shifted and mirrored at random, each time that it is trained on.
  const auto normalized = gg::data::normalize("images", {0.49, 0.48, 0.45}, {0.25, 0.24, 0.26});
  gg::Session session(graph, gg::session_options(flags));
  const gg::TrainingStep step = {.batch = {.arrays = {{"images", images}, {"labels", labels}}},
                                 .training = training,
                                 .loss = loss,
                                 .metrics = {{"accuracy", accuracy}},
                                 .train = train_op};
  return gg::train(flags, session, step, data,
                   {.transforms = {gg::data::random_crop("images", 32, 32, 4),
                                   gg::data::random_flip("images"), normalized},
                    .validation_transforms = {normalized}});
}

}  // namespace

int main(int argc, char** argv) {
  return gg::run_program(
      argc, argv,
      {.name = "cifar_resnet",
       .description = "Trains ResNet-20 on CIFAR-10, or on shapes where there is none.",
       .defaults = {.epochs = 6, .batch_size = 64, .learning_rate = 2e-3},
       .data = "Directory with CIFAR-10's binary files",
       .about_data = "Data: --data, else shapes in colours that the program draws. A line before "
                     "the first epoch says\nwhich."},
      run);
}

/// A multi-layer perceptron on MNIST: 669,706 parameters, above 98 % of the digits right.
#include "common/mnist.h"
#include "gradgraph/gradgraph.h"

namespace {

int run(const gg::TrainingFlags& flags) {
  const gg::TrainingData mnist = examples::load_mnist(flags);

  // A batch of the data: runs are fed its samples' numbers, or images and labels themselves.
  // Dropout acts in training only, so that is an input too.
  gg::Graph graph;
  const gg::data::GraphBatch batch =
      gg::data::graph_batch(graph, {mnist.training, mnist.validation});
  const auto images = batch["images"], labels = batch["labels"];
  const auto training = gg::placeholder(graph, gg::boolean, {}, "training");

  // The model. Each layer makes its variables, under a name scope of its own.
  auto x = gg::nn::flatten(images);
  const gg::nn::DenseOptions hidden = {
      .units = 512, .activation = gg::relu, .kernel_initializer = gg::nn::he_normal()};
  x = gg::nn::dense(x, hidden, "dense1");
  x = gg::nn::dense(x, hidden, "dense2");
  x = gg::nn::dropout(x, 0.2, training);
  const auto logits = gg::nn::dense(x, {.units = 10}, "logits");

  // What to make small, and what to look at.
  const auto losses = gg::sparse_softmax_cross_entropy(logits, labels);
  const auto loss = gg::named(gg::mean(losses), "loss");
  const auto correct = gg::cast(gg::equal(gg::argmax(logits, -1), labels), gg::float32);
  const auto accuracy = gg::named(gg::mean(correct), "accuracy");

  // The gradients, as more graph, and the updates of all variables that the loss depends on.
  const auto train_op = gg::make_optimizer(flags, mnist.training.size()).minimize(loss);

  // The loop prepares two runs: a step of training, and the same figures without it.
  gg::Session session(graph, gg::session_options(flags));
  const gg::TrainingStep step = {.batch = batch,
                                 .training = training,
                                 .loss = loss,
                                 .metrics = {{"accuracy", accuracy}},
                                 .train = train_op};
  return gg::train(flags, session, step, mnist);
}

}  // namespace

int main(int argc, char** argv) {
  return gg::run_program(
      argc, argv,
      {.name = "mnist_mlp",
       .description = "Trains a multi-layer perceptron (784-512-512-10) on MNIST's digits.",
       .defaults = {.epochs = 20},
       .data = examples::kMnistFlag,
       .about_data = examples::kAboutMnist},
      run);
}

/// Softmax regression on MNIST: one layer, 7,850 parameters, about 92 % of the digits right.
#include "common/mnist.h"
#include "gradgraph/gradgraph.h"

namespace {

int run(const gg::TrainingFlags& flags) {
  const gg::TrainingData mnist = examples::load_mnist(flags);

  // A graph is a program that has yet to run: each line below adds nodes to it, and none
  // computes. The first part stands for a batch of the data: runs are fed its samples' numbers,
  // or images and labels themselves.
  gg::Graph graph;
  const gg::data::GraphBatch batch =
      gg::data::graph_batch(graph, {mnist.training, mnist.validation});
  const auto images = batch["images"], labels = batch["labels"];

  // The model: a score for each of the ten digits, linear in the pixels. Variables keep their
  // values from run to run; these two start at zero.
  const auto weights = gg::variable(graph, gg::Tensor::zeros(gg::float32, {784, 10}), "weights");
  const auto bias = gg::variable(graph, gg::Tensor::zeros(gg::float32, {10}), "bias");
  const auto logits = gg::named(gg::matmul(gg::flatten(images), weights) + bias, "logits");

  // How wrong the scores are, on average over the batch, and how often the highest is right.
  const auto losses = gg::sparse_softmax_cross_entropy(logits, labels);
  const auto loss = gg::named(gg::mean(losses), "loss");
  const auto correct = gg::cast(gg::equal(gg::argmax(logits, -1), labels), gg::float32);
  const auto accuracy = gg::named(gg::mean(correct), "accuracy");

  // An optimiser adds the gradients of the loss, as more nodes, and the updates that use them.
  // Fetching `train_op` is what makes a step of training.
  const auto train_op = gg::make_optimizer(flags, mnist.training.size()).minimize(loss);

  // A session has the variables' values and runs parts of the graph: a step of training, or the
  // same figures without learning from the batch.
  gg::Session session(graph, gg::session_options(flags));
  const gg::TrainingStep step = {
      .batch = batch, .loss = loss, .metrics = {{"accuracy", accuracy}}, .train = train_op};
  return gg::train(flags, session, step, mnist);
}

}  // namespace

int main(int argc, char** argv) {
  return gg::run_program(argc, argv,
                         {.name = "mnist_softmax",
                          .description = "Trains softmax regression on MNIST's digits.",
                          .defaults = {.epochs = 10},
                          .data = examples::kMnistFlag,
                          .about_data = examples::kAboutMnist},
                         run);
}

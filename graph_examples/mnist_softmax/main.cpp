/// Softmax regression on MNIST: one layer, 7,850 parameters, about 92 % of the digits right.
#include "common/training.h"
#include "gradgraph/gradgraph.h"

namespace {

int run(const examples::Flags& flags) {
  const gg::data::Mnist mnist = examples::load_mnist(flags);

  // A graph is a program that has yet to run: each line below adds nodes to it, and none
  // computes. The first part stands for a batch of the data: runs are fed its samples' numbers,
  // or images and labels themselves.
  gg::Graph graph;
  const gg::data::GraphBatch batch = gg::data::graph_batch(graph, {mnist.train, mnist.test});
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
  const auto train_op = examples::make_optimizer(flags, mnist.train.size()).minimize(loss);

  // A session has the variables' values and runs parts of the graph: a step of training, or the
  // same figures without learning from the batch.
  gg::Session session(graph, {.device = flags.device,
                              .seed = flags.seed,
                              .threads = flags.threads,
                              .memory_limit = flags.memory_limit,
                              .exact_rewrites = flags.exact_rewrites,
                              .precision = flags.precision,
                              .node_times = flags.times_nodes()});
  return examples::train(
      flags, mnist, session,
      {.batch = batch, .loss = loss, .metrics = {{"accuracy", accuracy}}, .train = train_op});
}

}  // namespace

int main(int argc, char** argv) {
  return examples::start(argc, argv,
                         {.name = "mnist_softmax",
                          .description = "Trains softmax regression on MNIST's digits.",
                          .epochs = 10},
                         run);
}

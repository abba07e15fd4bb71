/// A convolutional network on MNIST: 428,330 parameters, above 99 % of the digits right.
#include "common/mnist.h"
#include "gradgraph/gradgraph.h"

namespace {

int run(const gg::TrainingFlags& flags) {
  const gg::TrainingData mnist = examples::load_mnist(flags);

  // A batch of the data: runs are fed its samples' numbers, or images and labels themselves.
  gg::Graph graph;
  const gg::data::GraphBatch batch =
      gg::data::graph_batch(graph, {mnist.training, mnist.validation});
  const auto images = batch["images"], labels = batch["labels"];

  // The model. Images are [batch, height, width, channels]; the comments say what comes out.
  auto x = gg::nn::conv2d(images, {.filters = 24, .kernel = 5, .activation = gg::relu},
                          "conv1");       // 24 x 24 x 24
  x = gg::nn::max_pool2d(x, 2, "pool1");  // 12 x 12 x 24
  x = gg::nn::conv2d(x, {.filters = 48, .kernel = 5, .activation = gg::relu},
                     "conv2");            // 8 x 8 x 48
  x = gg::nn::max_pool2d(x, 2, "pool2");  // 4 x 4 x 48
  x = gg::nn::flatten(x);                 // 768
  x = gg::nn::dense(x, {.units = 512, .activation = gg::relu}, "dense1");
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
  const gg::TrainingStep step = {
      .batch = batch, .loss = loss, .metrics = {{"accuracy", accuracy}}, .train = train_op};
  return gg::train(flags, session, step, mnist);
}

}  // namespace

int main(int argc, char** argv) {
  return gg::run_program(
      argc, argv,
      {.name = "mnist_cnn",
       .description = "Trains a convolutional network (two convolutions) on MNIST's digits.",
       .defaults = {.epochs = 12},
       .data = examples::kMnistFlag,
       .about_data = examples::kAboutMnist},
      run);
}

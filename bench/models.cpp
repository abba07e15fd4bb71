#include "models.h"

namespace bench {
namespace {

gg::Output mlp(gg::Output x, const gg::Output& training) {
  x = gg::nn::flatten(x);
  x = gg::nn::dense(x, {.units = 512, .activation = gg::relu}, "dense1");
  x = gg::nn::dense(x, {.units = 512, .activation = gg::relu}, "dense2");
  x = gg::nn::dropout(x, 0.2, training);
  return gg::nn::dense(x, {.units = 10}, "logits");
}

gg::Output cnn(gg::Output x) {
  x = gg::nn::conv2d(x, {.filters = 24, .kernel = 5, .activation = gg::relu}, "conv1");
  x = gg::nn::max_pool2d(x, 2, "pool1");
  x = gg::nn::conv2d(x, {.filters = 48, .kernel = 5, .activation = gg::relu}, "conv2");
  x = gg::nn::max_pool2d(x, 2, "pool2");
  x = gg::nn::flatten(x);
  x = gg::nn::dense(x, {.units = 512, .activation = gg::relu}, "dense1");
  return gg::nn::dense(x, {.units = 10}, "logits");
}

}  // namespace

Model make_model(gg::Graph& graph, const std::string& name) {
  if (name != "mlp" && name != "cnn") throw gg::BuildError("there is no model '" + name + "'");
  const auto images = gg::placeholder(graph, gg::float32, {gg::any, 28, 28, 1}, "images");
  const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
  const auto training = gg::placeholder(graph, gg::boolean, {}, "training");
  const auto logits = name == "mlp" ? mlp(images, training) : cnn(images);

  const auto losses = gg::sparse_softmax_cross_entropy(logits, labels);
  const auto loss = gg::named(gg::mean(losses), "loss");
  const auto correct = gg::cast(gg::equal(gg::argmax(logits, -1), labels), gg::float32);
  const auto accuracy = gg::named(gg::mean(correct), "accuracy");
  const auto train = gg::Adam{.learning_rate = 1e-3}.minimize(loss);
  return {{images, labels, training}, logits, loss, accuracy, train};
}

}  // namespace bench

#include "small_models.h"

#include <random>

namespace gradgraph::tests {
namespace {

void add_batches(SmallModel& model, const Shape& image, std::int64_t classes) {
  std::mt19937_64 random(3);
  std::normal_distribution<float> pixel;
  for (const std::int64_t size : {4, 4, 3, 4}) {
    Shape shape{size};
    for (const std::int64_t dim : image) shape.append(dim);
    Tensor images(float32, shape), labels(int64, Shape{size});
    for (float& x : images.span<float>()) x = pixel(random);
    for (std::int64_t& label : labels.span<std::int64_t>())
      label = static_cast<std::int64_t>(random()) & (classes - 1);
    model.batches.push_back({images, labels});
  }
}

void build_softmax(SmallModel& m) {
  const auto x = placeholder(m.graph, float32, {any, 12}, "x");
  const auto labels = placeholder(m.graph, int64, {any}, "labels");
  const auto logits = nn::dense(x, {.units = 4}, "logits");
  const auto loss = mean(sparse_softmax_cross_entropy(logits, labels));
  m.feeds = {x, labels};
  add_batches(m, {12}, 4);
  m.fetches = {loss, GradientDescent{.learning_rate = 0.1, .momentum = 0.9}.minimize(loss)};
}

void build_mlp(SmallModel& m) {
  const auto x = placeholder(m.graph, float32, {any, 8}, "x");
  const auto labels = placeholder(m.graph, int64, {any}, "labels");
  const auto training = constant(m.graph, Tensor(true), "training");
  auto y = nn::dense(x, {.units = 6, .activation = relu}, "dense1");
  y = nn::dense(y, {.units = 6, .activation = relu}, "dense2");
  y = nn::dropout(y, 0.4, training);
  y = nn::dense(y, {.units = 4}, "logits");
  const auto loss = mean(sparse_softmax_cross_entropy(y, labels));
  m.feeds = {x, labels};
  add_batches(m, {8}, 4);
  m.fetches = {
      loss,
      Adam{.learning_rate = cosine_schedule(0.01, 10), .clip = {.by_global_norm = 1}}.minimize(
          loss)};
}

void build_cnn(SmallModel& m) {
  const auto images = placeholder(m.graph, float32, {any, 8, 8, 1}, "images");
  const auto labels = placeholder(m.graph, int64, {any}, "labels");
  auto x = nn::conv2d(images, {.filters = 3, .kernel = 3, .activation = relu}, "conv1");
  x = nn::max_pool2d(x, 2);
  x = nn::conv2d(x, {.filters = 4, .kernel = 2, .activation = relu}, "conv2");
  x = nn::dense(flatten(x), {.units = 4}, "logits");
  const auto loss = mean(sparse_softmax_cross_entropy(x, labels));
  m.feeds = {images, labels};
  add_batches(m, {8, 8, 1}, 4);
  m.fetches = {loss, AdamW{.learning_rate = 0.01}.minimize(loss)};
}

}  // namespace

SmallModel::SmallModel(const std::string& name) {
  (name == "softmax" ? build_softmax : name == "mlp" ? build_mlp : build_cnn)(*this);
  variables = gradgraph::variables(graph);
}

std::vector<Tensor> SmallModel::train_on(const std::string& device) {
  Session session(graph, {.device = device, .seed = 17, .threads = 1});
  return train(session);
}

std::vector<Tensor> SmallModel::train(Session& session) const {
  Callable step = session.prepare(feeds, fetches);
  std::vector<Tensor> results;
  for (const auto& batch : batches)
    for (const Tensor& result : step.run(batch.data(), batch.size()))
      results.push_back(result ? result.clone() : result);
  for (const Output& variable : variables) results.push_back(session.value(variable));
  return results;
}

}  // namespace gradgraph::tests

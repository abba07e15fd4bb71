// Sanitizers bring their own malloc, which cannot be counted.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>

#include "gradgraph/gradgraph.h"
#include "op_rows.h"
#include "temporary_directory.h"

// Every allocation of this process, counted while the flag is set: operator new ends in malloc
// or aligned_alloc, and so does everything that C libraries allocate.
namespace {
std::atomic<bool> counting{false};
std::atomic<int> allocations{0};
std::atomic<std::size_t> bytes_allocated{0};

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}
void count(std::size_t size) {
  if (!counting.load(std::memory_order_relaxed)) return;
  ++allocations;
  bytes_allocated += size;
}
}  // namespace

extern "C" {
void* malloc(std::size_t size) {
  static const auto real = next<void* (*)(std::size_t)>("malloc");
  count(size);
  return real(size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  static const auto real = next<void* (*)(std::size_t, std::size_t)>("aligned_alloc");
  count(size);
  return real(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  static const auto real = next<int (*)(void**, std::size_t, std::size_t)>("posix_memalign");
  count(size);
  return real(memory, alignment, size);
}
}

namespace gradgraph {
namespace {

struct Model {
  Graph graph;
  Output images = placeholder(graph, float32, {any, 12, 12, 1}, "images");
  Output labels = placeholder(graph, int64, {any}, "labels");
  Output training = placeholder(graph, boolean, {}, "training");
  Output loss, train;

  Model() {
    Output x = nn::conv2d(images, {.filters = 4, .kernel = 3, .activation = relu});
    x = nn::max_pool2d(x);
    x = nn::dense(flatten(x), {.units = 16, .activation = relu});
    x = nn::dropout(x, 0.5, training);
    const Output logits = nn::dense(x, {.units = 10});
    loss = mean(sparse_softmax_cross_entropy(logits, labels));
    train = Adam{.clip = {.by_global_norm = 1}}.minimize(loss);
  }
};

}  // namespace

TEST_CASE("training allocates nothing once it runs") {
  Model model;
  Session session(model.graph);
  Callable step =
      session.prepare({model.images, model.labels, model.training}, {model.train, model.loss});
  const Tensor training(true);
  const Tensor images[] = {Tensor::full(float32, {8, 12, 12, 1}, 0.5),
                           Tensor::full(float32, {3, 12, 12, 1}, 0.25)};
  const Tensor labels[] = {Tensor::zeros(int64, {8}), Tensor::zeros(int64, {3})};
  for (int i = 0; i < 2; ++i) step(images[i], labels[i], training);
  for (int i = 0; i < 2; ++i) step(images[i], labels[i], training);  // pools of threads and BLAS

  counting = true;
  for (int i = 0; i < 10; ++i) step(images[i % 2], labels[i % 2], training);
  counting = false;
  CHECK(allocations == 0);

  allocations = 0;
  counting = true;  // the counter itself works
  const Tensor seen = Tensor::zeros(float32, {4});
  counting = false;
  CHECK(allocations > 0);
}

TEST_CASE("a checkpoint uses the copies of the one before it again") {
  const tests::TemporaryDirectory folder;
  Graph graph;
  const Output w = variable(random_uniform(graph, {1 << 20}), "w");
  Session session(graph);
  session.value(w);
  Checkpoints checkpoints({.directory = folder / "checkpoints"});
  checkpoints.save(session, graph);
  checkpoints.wait();
  session.set_step(1);
  bytes_allocated = 0;
  counting = true;
  checkpoints.save(session, graph);
  checkpoints.wait();
  counting = false;
  CHECK(bytes_allocated < 64 << 10);
}

TEST_CASE("many steps in one call allocate nothing once they run") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any}, "x");
  const Output scale = placeholder(graph, float32, {}, "scale");
  const Output added = assign_add(variable(graph, Tensor{0.F, 0.F}, "total"), x * scale);
  Session session(graph);
  Callable step = session.prepare({x, scale}, {added, x});
  const Tensor feeds[] = {Tensor{{1.F, 2.F}, {3.F, 4.F}, {5.F, 6.F}}, Tensor(2.F)};
  for (int i = 0; i < 2; ++i) step.run_steps(3, feeds, 2);
  allocations = 0;
  counting = true;
  for (int i = 0; i < 3; ++i) step.run_steps(3, feeds, 2);
  counting = false;
  CHECK(allocations == 0);
  CHECK(feeds[1].unique());
}

TEST_CASE("batches allocate nothing from the second epoch on") {
  const data::Dataset dataset{{"images", Tensor::zeros(uint8, {50, 28, 28, 1})},
                              {"labels", Tensor::zeros(int64, {50})}};
  for (const int prefetch : {0, 2}) {
    data::Batches batches(
        dataset.shuffled(1), 8,
        {.prefetch = prefetch,
         .transforms = {data::random_crop("images", 28, 28, 2), data::random_flip("images"),
                        data::normalize("images", {0.5}, {0.2}), data::one_hot("labels", 10)}});
    while (batches.next()) {
    }
    allocations = 0;
    counting = true;
    for (std::int64_t epoch = 1; epoch < 4; ++epoch) {
      batches.restart(epoch);
      while (batches.next()) {
      }
    }
    counting = false;
    CHECK(allocations == 0);
  }
}

TEST_CASE("no kernel allocates, whether the reference or the fastest") {
  for (const tests::OpRow& row : tests::op_rows())
    for (const bool reference : {false, true}) {
      Graph graph;
      std::vector<Output> inputs;
      for (const Tensor& value : row.inputs)
        inputs.push_back(placeholder(graph, value.dtype(), value.shape()));
      const std::vector<Output> outputs = row.build(inputs);
      if (row.inputs.empty() || &outputs[0].graph() != &graph) continue;
      Session session(graph, {.threads = 2, .reference_kernels = reference});
      Callable step = session.prepare(inputs, outputs);
      for (int i = 0; i < 2; ++i) step.run(row.inputs.data(), row.inputs.size());
      // Some OpenMP libraries allocate now and then. A kernel would do it in every run.
      int fewest = -1;
      for (int i = 0; i < 20 && fewest != 0; ++i) {
        allocations = 0;
        counting = true;
        step.run(row.inputs.data(), row.inputs.size());
        counting = false;
        if (const int seen = allocations; fewest < 0 || seen < fewest) fewest = seen;
      }
      CAPTURE(row.name);
      CAPTURE(reference);
      CHECK(fewest == 0);
    }
}

TEST_CASE("what a plan allocates grows with the branches in it, not with their square") {
  const auto bytes_for = [](int branches) {
    Graph graph;
    const Output x = placeholder(graph, float32, {4}, "x");
    const Output w = variable(graph, Tensor{1.F, 2.F, 3.F, 4.F}, "w");
    const Output positive = greater(sum(x), 0);
    const Tensor yes(true);
    Output y = x;
    for (int i = 0; i < branches; ++i) {
      // Of each kind: one that the run chooses, and one whose choice a plan may know.
      y = cond(
          positive, [&] { return y * w; }, [&] { return y + x; });
      y = cond(
          constant(graph, yes), [&] { return y * w; }, [&] { return y + x; });
      assign_add(w, x);  // looked up when variables are placed
    }
    const std::vector<Output> fetches = {y, gradients({sum(y)}, {w})[0]};
    Session session(graph);
    bytes_allocated = 0;
    counting = true;
    session.run({{x, Tensor::full(float32, {4}, 1)}}, fetches);
    counting = false;
    return static_cast<double>(bytes_allocated);
  };
  const double few = bytes_for(50), many = bytes_for(400);
  CAPTURE(few);
  CHECK(many < 9 * few);
}

}  // namespace gradgraph

#endif

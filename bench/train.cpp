/// Trains a model epoch by epoch, as bench/run.py asks for on stdin; the counterpart of the
/// scripts in bench/peers. A line of JSON on stdout answers every command.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include "models.h"

namespace {

/// Mean loss and accuracy over samples, from the means of batches.
class Mean {
 public:
  void add(std::int64_t samples, const std::vector<gg::Tensor>& results) {
    const auto size = static_cast<double>(samples);
    loss_ += size * static_cast<double>(results[0].item<float>());
    accuracy_ += size * static_cast<double>(results[1].item<float>());
    samples_ += size;
  }
  double loss() const { return loss_ / samples_; }
  double accuracy() const { return accuracy_ / samples_; }

 private:
  double loss_ = 0, accuracy_ = 0, samples_ = 0;
};

struct Flags {
  std::string data, model;
  std::int64_t batch = 0, limit = 0;
  int threads = 0;
};

class Trainer {
 public:
  explicit Trainer(const Flags& flags)
      : mnist_(gg::data::find_mnist(flags.data)),
        model_(bench::make_model(graph_, flags.model)),
        session_(graph_, {.seed = 1, .threads = flags.threads}),
        step_(session_.prepare(model_.feeds, {model_.loss, model_.accuracy, model_.train})),
        measure_(session_.prepare(model_.feeds, {model_.loss, model_.accuracy})),
        batches_(mnist_.train.first(flags.limit), flags.batch,
                 {.seed = 1, .threads = flags.threads}),
        validation_(mnist_.test.first(flags.limit), 500,
                    {.shuffle = false, .prefetch = 1, .threads = flags.threads}) {}

  void first_step() {
    const gg::data::Batch& batch = *batches_.next();
    step_(batch["images"], batch["labels"], on_);
  }

  Mean train_epoch() {
    Mean mean;
    batches_.restart(++epoch_);
    for (const gg::data::Batch& batch : batches_)
      mean.add(batch.size(), step_(batch["images"], batch["labels"], on_));
    return mean;
  }

  Mean evaluate() {
    Mean mean;
    validation_.restart(0);
    for (const gg::data::Batch& batch : validation_)
      mean.add(batch.size(), measure_(batch["images"], batch["labels"], off_));
    return mean;
  }

 private:
  const gg::Tensor on_ = gg::Tensor(true), off_ = gg::Tensor(false);
  gg::data::Mnist mnist_;
  gg::Graph graph_;
  bench::Model model_;
  gg::Session session_;
  gg::Callable step_, measure_;
  gg::data::Batches batches_, validation_;
  std::int64_t epoch_ = 0;
};

int serve(const Flags& flags) {
  Trainer trainer(flags);
  trainer.first_step();
  std::puts("{\"event\": \"first_step\"}");
  std::fflush(stdout);
  for (std::string command; std::getline(std::cin, command);) {
    if (command != "epoch" && command != "evaluate")
      throw gg::RunError("unknown command '" + command + "'");
    const auto start = std::chrono::steady_clock::now();
    const Mean mean = command == "epoch" ? trainer.train_epoch() : trainer.evaluate();
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    std::printf("{\"seconds\": %.6f, \"loss\": %.6f, \"accuracy\": %.6f}\n", passed.count(),
                mean.loss(), mean.accuracy());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Trains a model epoch by epoch, as bench/run.py asks for on stdin.");
  app.add_option("--data", flags.data, "Directory with the four MNIST files");
  app.add_option("--model", flags.model, "mlp or cnn")->required();
  app.add_option("--batch", flags.batch, "Samples in a step")->required();
  app.add_option("--threads", flags.threads, "CPU threads; 0 means all cores");
  app.add_option("--limit", flags.limit, "Use only the first samples");
  CLI11_PARSE(app, argc, argv);
  try {
    return serve(flags);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

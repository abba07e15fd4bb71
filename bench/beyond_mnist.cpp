/// Steps of a model beyond MNIST, as bench/beyond_mnist.py asks for on stdin; the counterpart of
/// bench/peers/beyond_*.py, which begin from the inputs and weights that it writes. A line of
/// JSON on stdout answers every command. On a GPU a call makes a step of every batch.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>

#include "beyond_models.h"

namespace {

struct Flags {
  std::string model, device = "cpu";
  std::filesystem::path start;
  int threads = 0, profiled_steps = 0;
  std::vector<std::string> disabled_passes;
};

class Runner {
 public:
  explicit Runner(const Flags& flags)
      : model_(bench::make_beyond_model(graph_, flags.model)),
        session_(graph_, {.device = flags.device,
                          .seed = 1,
                          .threads = flags.threads,
                          .disabled_passes = flags.disabled_passes,
                          .node_times = flags.profiled_steps > 0}),
        step_(session_.prepare(model_.feeds, model_.fetches)) {
    if (flags.device == "cpu") return;
    steps_at_once_ = static_cast<int>(model_.batches.size());
    for (std::size_t i = 0; i < model_.feeds.size(); ++i) together_.push_back(stacked(i));
  }

  /// "batch0/words" and the like, then the weights as they are now by their variables' names.
  void write_start(const std::filesystem::path& path) {
    std::vector<gg::NamedTensor> arrays;
    for (std::size_t i = 0; i < model_.batches.size(); ++i)
      for (std::size_t j = 0; j < model_.feeds.size(); ++j)
        arrays.push_back(
            {"batch" + std::to_string(i) + "/" + model_.feeds[j].name(), model_.batches[i][j]});
    for (const gg::Output& variable : gg::trainable_variables(graph_))
      arrays.push_back({variable.name(), session_.value(variable)});
    gg::write_npz(path, arrays);
  }

  void run_steps(int count) {
    for (; count > 0; count -= steps_at_once_) {
      if (steps_at_once_ > 1) {
        results_ = &step_.run_steps(steps_at_once_, together_.data(), together_.size());
      } else {
        const std::vector<gg::Tensor>& batch = batch_of(steps_);
        results_ = &step_.run(batch.data(), batch.size());
      }
      steps_ += static_cast<std::size_t>(steps_at_once_);
    }
  }

  /// Of the last step.
  float loss() {
    if (model_.fetches[0] == model_.loss) {
      const gg::Tensor& losses = results_->front();
      return losses.data<float>()[losses.num_elements() - 1];
    }
    gg::Feeds feeds;
    for (std::size_t i = 0; i < model_.feeds.size(); ++i)
      feeds.emplace_back(model_.feeds[i], batch_of(steps_ - 1)[i]);
    return session_.run(feeds, model_.loss).item<float>();
  }

  std::string profile(int steps, int threads) {
    gg::Profile profile;
    for (int i = 0; i < steps; ++i) {
      run_steps(1);
      profile.add_run(session_.last_run());
    }
    return profile.table(gg::measure_ceilings(threads));
  }

 private:
  const std::vector<gg::Tensor>& batch_of(std::size_t step) const {
    return model_.batches[step % model_.batches.size()];
  }

  /// A feed's values of all batches, behind a first axis; one that is the same in all, as it is.
  gg::Tensor stacked(std::size_t feed) const {
    const gg::Tensor& first = model_.batches[0][feed];
    if (first.shape().rank() == 0) return first;
    gg::Shape shape{static_cast<std::int64_t>(model_.batches.size())};
    for (const std::int64_t size : first.shape()) shape.append(size);
    gg::Tensor all(first.dtype(), shape);
    auto* to = static_cast<std::byte*>(all.raw());
    for (const std::vector<gg::Tensor>& batch : model_.batches) {
      std::memcpy(to, batch[feed].raw(), first.bytes());
      to += first.bytes();
    }
    return all;
  }

  gg::Graph graph_;
  bench::BeyondModel model_;
  gg::Session session_;
  gg::Callable step_;
  const std::vector<gg::Tensor>* results_ = nullptr;
  std::size_t steps_ = 0;
  int steps_at_once_ = 1;
  std::vector<gg::Tensor> together_;
};

void serve(Runner& runner) {
  runner.run_steps(1);
  std::puts("{\"event\": \"first_step\"}");
  std::fflush(stdout);
  for (std::string command; std::getline(std::cin, command);) {
    std::istringstream words(command);
    std::string word;
    int steps = 0;
    if (!(words >> word >> steps) || word != "steps" || steps < 1)
      throw gg::RunError("unknown command '" + command + "'");
    const auto start = std::chrono::steady_clock::now();
    runner.run_steps(steps);
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    std::printf("{\"seconds\": %.9f, \"loss\": %.6f}\n", passed.count() / steps,
                static_cast<double>(runner.loss()));
    std::fflush(stdout);
  }
}

int run(const Flags& flags) {
  Runner runner(flags);
  if (!flags.start.empty()) runner.write_start(flags.start);
  if (flags.profiled_steps > 0)
    std::fputs(runner.profile(flags.profiled_steps, flags.threads).c_str(), stdout);
  else
    serve(runner);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Steps of a model beyond MNIST, as bench/beyond_mnist.py asks for on stdin.");
  app.add_option(
         "--model", flags.model,
         "lstm, transformer, long_transformer, vae, resnet, mobilenet, mlp, unet, text_cnn, "
         "vocabulary, recommender or cnn_inference")
      ->required();
  app.add_option("--device", flags.device, "cpu or cuda");
  app.add_option("--threads", flags.threads, "CPU threads; 0 means all cores");
  app.add_option("--start", flags.start, "Where inputs and initial weights go, a file .npz");
  app.add_option("--profile", flags.profiled_steps,
                 "Instead, print where the time of so many steps goes");
  app.add_option("--without", flags.disabled_passes, "Graph rewrites that are left out");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(flags);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

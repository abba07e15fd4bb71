#include "common/program.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstdio>
#include <exception>
#include <string_view>

namespace examples {
namespace {

namespace fs = std::filesystem;
namespace gg = gradgraph;

struct OptimizerChoice {
  const char* name;
  double learning_rate;
  gg::Optimizer (*make)(gg::LearningRate);
};
const std::array<OptimizerChoice, 6> kOptimizers = {{
    {"adam", 1e-3, [](gg::LearningRate r) -> gg::Optimizer { return gg::Adam{r}; }},
    {"adamw", 1e-3, [](gg::LearningRate r) -> gg::Optimizer { return gg::AdamW{r}; }},
    {"rmsprop", 1e-3, [](gg::LearningRate r) -> gg::Optimizer { return gg::RmsProp{r}; }},
    {"adagrad", 1e-2, [](gg::LearningRate r) -> gg::Optimizer { return gg::Adagrad{r}; }},
    {"momentum", 2e-2,
     [](gg::LearningRate r) -> gg::Optimizer {
       return gg::GradientDescent{.learning_rate = r, .momentum = 0.9};
     }},
    {"sgd", 1e-1, [](gg::LearningRate r) -> gg::Optimizer { return gg::GradientDescent{r}; }},
}};

const OptimizerChoice& optimizer_choice(const std::string& name) {
  for (const OptimizerChoice& choice : kOptimizers)
    if (name == choice.name) return choice;
  throw gg::BuildError("there is no optimizer '" + name + "'");
}

/// Whole numbers from `least` on.
CLI::Validator at_least(std::int64_t least) {
  const auto check = [least](const std::string& text) {
    std::int64_t number = 0;
    if (CLI::detail::lexical_cast(text, number) && number >= least) return std::string();
    return "must be a whole number, " + std::to_string(least) + " or more, not " + text;
  };
  return {check, "N"};
}

CLI::Validator positive_number() {
  const auto check = [](const std::string& text) {
    double number = 0;
    if (CLI::detail::lexical_cast(text, number) && std::isfinite(number) && number > 0)
      return std::string();
    return "must be a number above 0, not " + text;
  };
  return {check, "X"};
}

/// A file that can be written, found out without touching it.
CLI::Validator writable_file() {
  const auto check = [](const std::string& text) {
    const fs::path path = text, folder = path.has_parent_path() ? path.parent_path() : ".";
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) return "cannot write " + text + ": it is a directory";
    if (!fs::is_directory(folder, ignored))
      return "cannot write " + text + ": there is no directory " + folder.string();
    const bool writable =
        access(fs::exists(path, ignored) ? path.c_str() : folder.c_str(), W_OK) == 0;
    return writable ? std::string() : "cannot write " + text + ": permission denied";
  };
  return {check, "FILE"};
}

constexpr const char* kFooter = R"(
Data: --data, else $MNIST_DIR, else data/mnist, else the folder that `./run` downloads to, else
Debian's Fashion-MNIST. The first line of output says which.

Output, a line per epoch: mean training loss and loss on the validation data, the same for the
accuracy, the epoch, and the seconds since training began:
  loss: 0.2268 / 0.1038	accuracy: 0.9307 / 0.9680	step 1  1.51 sec
Two runs with one seed print the same but for the seconds.

Ctrl-C ends the program after the running step. Exit status: 0, 1 after an error, 2 for wrong
flags, 130 after Ctrl-C.)";

void add_flags(CLI::App& app, Flags& flags) {
  std::vector<std::string> optimizers;
  std::string rates;
  for (const OptimizerChoice& choice : kOptimizers) {
    optimizers.emplace_back(choice.name);
    std::array<char, 32> rate{};
    std::snprintf(rate.data(), rate.size(), "%s%s %g", rates.empty() ? "" : ", ", choice.name,
                  choice.learning_rate);
    rates += rate.data();
  }

  const char* group = "Training";
  const auto in_group = [&](CLI::Option* option) { return option->group(group); };
  in_group(app.add_option("--epochs", flags.epochs, "Passes over the training data"))
      ->check(at_least(1))
      ->capture_default_str();
  in_group(app.add_option("--batch-size", flags.batch_size, "Samples in a step"))
      ->check(at_least(1))
      ->capture_default_str();
  in_group(app.add_option("--optimizer", flags.optimizer, "How variables are updated"))
      ->check(CLI::IsMember(optimizers))
      ->capture_default_str();
  in_group(app.add_option("--learning-rate", flags.learning_rate,
                          "The rate of the first step; decays along half a cosine to 0 over all "
                          "epochs (default: " +
                              rates + ")"))
      ->check(positive_number());
  in_group(app.add_option("--seed", flags.seed, "Of initial values, shuffling and dropout"))
      ->check(at_least(0))
      ->capture_default_str();

  group = "Data and device";
  in_group(app.add_option("--data", flags.data, "Directory with the four MNIST files"))
      ->type_name("DIR");
  in_group(app.add_option("--limit", flags.limit,
                          "Use only the first N samples of training and of validation data"))
      ->check(at_least(1));
  in_group(app.add_option("--device", flags.device, "Where to compute: auto, cpu, cuda:0, ..."))
      ->type_name("NAME")
      ->capture_default_str();
  in_group(app.add_option("--threads", flags.threads, "CPU threads; 0 means all cores"))
      ->check(at_least(0))
      ->capture_default_str();

  group = "Output";
  in_group(app.add_option("--log-every", flags.log_every,
                          "Print the line, of the epoch so far, also every N batches; measures "
                          "the validation data each time"))
      ->check(at_least(1));
  in_group(
      app.add_option("--metrics", flags.metrics, "Write each line's numbers as JSON to FILE"))
      ->check(writable_file());
  in_group(app.add_flag("--explain-placement", flags.explain_placement,
                        "Print where each node runs, and why"));
  in_group(app.add_flag("--quiet", flags.quiet, "Print the epochs' lines only"));
}

int fail(std::string_view message, int status) {
  std::fflush(stdout);
  std::fprintf(stderr, "error: %.*s\n", static_cast<int>(message.size()), message.data());
  return status;
}

}  // namespace

int start(int argc, char** argv, const ProgramInfo& info,
          const std::function<int(const Flags&)>& body) {
  try {
    Flags flags;
    flags.epochs = info.epochs;
    CLI::App app(info.description, info.name);
    add_flags(app, flags);
    app.footer(kFooter);
    try {
      app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
      std::fputs(app.help().c_str(), stdout);
      return 0;
    } catch (const CLI::ParseError& error) {
      return fail(std::string(error.what()) + " (--help lists the flags)", 2);
    }
    if (flags.learning_rate == 0)
      flags.learning_rate = optimizer_choice(flags.optimizer).learning_rate;
    return body(flags);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}

gg::Optimizer make_optimizer(const Flags& flags, std::int64_t samples) {
  const std::int64_t batches = (samples + flags.batch_size - 1) / flags.batch_size;
  return optimizer_choice(flags.optimizer)
      .make(gg::cosine_schedule(flags.learning_rate, flags.epochs * batches));
}

}  // namespace examples

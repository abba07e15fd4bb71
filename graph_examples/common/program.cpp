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

template <class T>
gg::Optimizer make(gg::LearningRate rate, gg::LossScale scale) {
  return T{.learning_rate = rate, .loss_scale = scale};
}

struct OptimizerChoice {
  const char* name;
  double learning_rate;
  gg::Optimizer (*make)(gg::LearningRate, gg::LossScale);
};
const std::array<OptimizerChoice, 6> kOptimizers = {{
    {"adam", 1e-3, make<gg::Adam>},
    {"adamw", 1e-3, make<gg::AdamW>},
    {"rmsprop", 1e-3, make<gg::RmsProp>},
    {"adagrad", 1e-2, make<gg::Adagrad>},
    {"momentum", 2e-2,
     [](gg::LearningRate rate, gg::LossScale scale) -> gg::Optimizer {
       return gg::GradientDescent{.learning_rate = rate, .momentum = 0.9, .loss_scale = scale};
     }},
    {"sgd", 1e-1, make<gg::GradientDescent>},
}};

struct PrecisionChoice {
  const char* name;
  gg::Precision precision;
};
const std::array<PrecisionChoice, 4> kPrecisions = {{{"fp32", gg::Precision::fp32},
                                                     {"tf32", gg::Precision::tf32},
                                                     {"bf16", gg::Precision::bf16},
                                                     {"fp16", gg::Precision::fp16}}};

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
  return {check, ""};
}

/// One of `choices` by its name; `use(choice, text)` may put something else in its place.
template <class Choices, class Use>
CLI::Validator is_one_of(const char* kind, const Choices& choices, const Use& use) {
  const auto check = [&choices, kind, use](std::string& text) {
    std::string names;
    for (const auto& choice : choices) {
      if (text == choice.name) {
        use(choice, text);
        return std::string();
      }
      names += std::string(names.empty() ? "" : ", ") + choice.name;
    }
    return std::string("there is no ") + kind + " '" + text + "', only " + names;
  };
  return {check, ""};
}

CLI::Validator is_optimizer() {
  return is_one_of("optimizer", kOptimizers, [](const OptimizerChoice&, std::string&) {});
}

/// Makes a name the number that CLI11 reads an enumeration from.
CLI::Validator is_precision() {
  return is_one_of("precision", kPrecisions,
                   [](const PrecisionChoice& choice, std::string& text) {
                     text = std::to_string(static_cast<int>(choice.precision));
                   });
}

CLI::Validator positive_number() {
  const auto check = [](const std::string& text) {
    double number = 0;
    if (CLI::detail::lexical_cast(text, number) && std::isfinite(number) && number > 0)
      return std::string();
    return "must be a number above 0, not " + text;
  };
  return {check, ""};
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
  return {check, ""};
}

constexpr const char* kFooter = R"(
Data: --data, else $MNIST_DIR, else data/mnist, else the folder that `./run` downloads to, else
Debian's Fashion-MNIST. A line before the first epoch says which.

Output, a line per epoch: mean training loss and loss on the validation data, the same for the
accuracy, the epoch, and the seconds since training began:
  loss: 0.2268 / 0.1038	accuracy: 0.9307 / 0.9680	step 1  1.51 sec
Two runs with one seed print the same but for the seconds.

Ctrl-C ends the program after the running step. Exit status: 0, 1 after an error, 2 for wrong
flags, 130 after Ctrl-C.)";

void add_flags(CLI::App& app, Flags& flags) {
  std::string optimizers;  // "adam (0.001), ...", three to a line
  for (std::size_t i = 0; i < kOptimizers.size(); ++i) {
    std::array<char, 64> entry{};
    const char* separator = i == 0 ? "" : i % 3 == 0 ? ",\n" : ", ";
    std::snprintf(entry.data(), entry.size(), "%s%s (%g)", separator, kOptimizers[i].name,
                  kOptimizers[i].learning_rate);
    optimizers += entry.data();
  }

  const char* group = "Training";
  const auto option = [&](const char* name, auto& value, const char* type,
                          const std::string& description) {
    return app.add_option(name, value, description)->type_name(type)->group(group);
  };
  option("--epochs", flags.epochs, "N", "Passes over the training data")
      ->check(at_least(1))
      ->capture_default_str();
  option("--batch-size", flags.batch_size, "N", "Samples in a step")
      ->check(at_least(1))
      ->capture_default_str();
  option("--optimizer", flags.optimizer, "NAME",
         "How variables are updated, with default rates:\n" + optimizers)
      ->check(is_optimizer())
      ->capture_default_str();
  option("--learning-rate", flags.learning_rate, "X",
         "The rate at the start, which falls to 0 along half a\ncosine over all epochs")
      ->check(positive_number());
  option("--seed", flags.seed, "N", "Of initial values, shuffling and dropout")
      ->check(at_least(0))
      ->capture_default_str();

  group = "Checkpoints";
  option("--checkpoint", flags.checkpoints, "DIR",
         "Keep what training needs to go on in DIR, after each\nepoch and at Ctrl-C");
  option("--checkpoint-every", flags.checkpoint_every, "N", "And every N steps")
      ->check(at_least(1))
      ->needs("--checkpoint");
  app.add_flag("--resume", flags.resume,
               "Go on from the newest checkpoint, if there is one, as if\nnothing had stopped it")
      ->needs("--checkpoint")
      ->group(group);

  group = "Data and device";
  option("--data", flags.data, "DIR", "Directory with the four MNIST files");
  option("--limit", flags.limit, "N",
         "Use only the first N training samples, and as many\nvalidation samples")
      ->check(at_least(1));
  option("--device", flags.device, "NAME",
         "Where to compute: cpu, cuda:0, ...; auto: where a step is\nestimated to take the least "
         "time")
      ->capture_default_str();
  option("--precision", flags.precision, "NAME",
         "Of products: fp32, exact; tf32, of 11 bits on a GPU; bf16\nor fp16, stored in 16 bits")
      ->transform(is_precision())
      ->default_str("fp32");
  option("--steps-per-launch", flags.steps_per_launch, "N",
         "Batches that a GPU trains on in one call; a few dozen\nunless given")
      ->check(at_least(1));
  option("--memory-limit", flags.memory_limit, "SIZE",
         "Refuse to run what needs more: 200MB, 1GB")
      ->transform(CLI::AsSizeValue(true));
  option("--threads", flags.threads, "N", "CPU threads; 0 means all cores")
      ->check(at_least(0))
      ->capture_default_str();

  group = "Output";
  option(
      "--log-every", flags.log_every, "N",
      "Print the line, of the epoch so far, every N batches too;\nmeasures the validation data "
      "each time")
      ->check(at_least(1));
  option("--metrics", flags.metrics, "FILE", "Write each line's numbers to FILE, as JSON")
      ->check(writable_file());
  option("--events", flags.events, "DIR",
         "Write curves, weights and the graph for TensorBoard:\ntensorboard --logdir DIR");
  option("--dot", flags.dot, "FILE",
         "Draw the graph into FILE, in Graphviz' language: look\nat it with dot -Tsvg FILE")
      ->check(writable_file());
  option("--dot-depth", flags.dot_depth, "N",
         "How many levels of scopes --dot opens; as many as a\nscreen can show, unless given")
      ->check(at_least(0));
  option("--trace", flags.trace, "FILE",
         "Write what ten steps of training did to FILE: look at\nit in Perfetto or "
         "chrome://tracing")
      ->check(writable_file());
  app.add_flag("--profile", flags.profile,
               "Print where the time of training went, node by node,\nbeside what the machine "
               "can do at most")
      ->group(group);
  app.add_flag("--explain-placement", flags.explain_placement,
               "Print where each node runs, and why")
      ->group(group);
  app.add_flag("--explain-memory", flags.explain_memory,
               "Print how much memory a step of training takes, and for what")
      ->group(group);
  app.add_flag("--explain-passes", flags.explain_passes,
               "Print how the graph of a step was rewritten")
      ->group(group);
  app.add_flag("--exact-rewrites", flags.exact_rewrites,
               "Leave out graph rewrites that change more than rounding")
      ->group(group);
  app.add_flag("--quiet", flags.quiet, "Print the epochs' lines only")->group(group);
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
      .make(gg::cosine_schedule(flags.learning_rate, flags.epochs * batches),
            flags.precision == gg::Precision::fp16 ? gg::LossScale::dynamic() : gg::LossScale());
}

}  // namespace examples

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "command_line/optimizer_choices.h"
#include "core/text.h"
#include "gradgraph/command_line.h"
#include "gradgraph/error.h"
#include "gradgraph/replay.h"

namespace gradgraph {
namespace command_line {
namespace {

namespace fs = std::filesystem;

struct PrecisionChoice {
  const char* name;
  Precision precision;
};
const std::array<PrecisionChoice, 4> kPrecisions = {{{"fp32", Precision::fp32},
                                                     {"tf32", Precision::tf32},
                                                     {"bf16", Precision::bf16},
                                                     {"fp16", Precision::fp16}}};

/// Whole numbers from `least` on.
CLI::Validator at_least(std::int64_t least) {
  const auto check = [least](const std::string& text) {
    std::int64_t number = 0;
    if (CLI::detail::lexical_cast(text, number) && number >= least) return std::string();
    return fmt::format("must be a whole number, {} or more, not {}", least, text);
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
    return fmt::format("there is no {} '{}', only {}", kind, text, names);
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

std::string footer(const ProgramDescription& description) {
  const std::string& metric = description.metric;
  std::string text = "\n";
  if (!description.about_data.empty()) text += description.about_data + "\n\n";
  text += "Output, a line per epoch: mean training loss and loss on the validation data, ";
  text += metric.empty() ? "the epoch, and\nthe" : "the same for the\n" + metric;
  text += metric.empty() ? "" : ", the epoch, and the";
  text += " seconds since training began:\n  loss: 0.2268 / 0.1038\t";
  if (!metric.empty()) text += metric + ": 0.9307 / 0.9680\t";
  text += R"(step 1  1.51 sec
Two runs with one seed print the same but for the seconds.

Ctrl-C ends the program after the running step. Exit status: 0, 1 after an error, 2 for wrong
flags, 130 after Ctrl-C.)";
  return text;
}

constexpr const char* kReplay = "--replay";

/// Those of the bundle that is to be replayed, if there is one; what is given now comes later.
std::vector<std::string> arguments_before(const std::vector<std::string>& arguments) {
  const auto flag = std::ranges::find(arguments, kReplay);
  if (flag == arguments.end() || flag + 1 == arguments.end()) return {};
  return read_bundle(flag[1], {}).arguments;
}

/// The flags of one program.
class Parser {
 public:
  Parser(const ProgramDescription& description, TrainingFlags& flags)
      : app_(description.description, description.name), flags_(flags) {
    app_.footer(footer(description));
    add_training();
    add_checkpoints();
    add_data_and_device(description.data);
    add_output();
    if (description.flags.empty()) return;
    group_ = "This program's own";
    for (const ProgramFlag& flag : description.flags) add(flag);
  }

  /// False where it was asked for help. Throws CLI::ParseError.
  bool parse(std::vector<std::string> arguments) {
    const std::vector<std::string> before = arguments_before(arguments);
    if (!before.empty()) {
      for (CLI::Option* option : app_.get_options())
        if (option->get_items_expected_max() == 1)
          option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      arguments.insert(arguments.begin(), before.begin(), before.end());
    }
    std::ranges::reverse(arguments);  // as CLI11 takes them
    try {
      app_.parse(std::move(arguments));
    } catch (const CLI::CallForHelp&) {
      std::fputs(app_.help().c_str(), stdout);
      return false;
    }
    // Another optimiser does not take the rate that the program has for its own.
    if (rate_->empty() && (!optimizer_->empty() || flags_.learning_rate == 0))
      flags_.learning_rate = optimizer_choice(flags_.optimizer, {}).learning_rate;
    return true;
  }

 private:
  template <class T>
  CLI::Option* option(const char* name, T& value, const char* type,
                      const std::string& description) {
    return app_.add_option(name, value, description)->type_name(type)->group(group_);
  }
  CLI::Option* flag(const char* name, bool& value, const std::string& description) {
    return app_.add_flag(name, value, description)->group(group_);
  }

  void add_training() {
    std::string optimizers;  // "adam (0.001), ...", three to a line
    for (std::size_t i = 0; i < kOptimizers.size(); ++i)
      optimizers += fmt::format("{}{} ({:g})",
                                i == 0       ? ""
                                : i % 3 == 0 ? ",\n"
                                             : ", ",
                                kOptimizers[i].name, kOptimizers[i].learning_rate);
    group_ = "Training";
    option("--epochs", flags_.epochs, "N", "Passes over the training data")
        ->check(at_least(1))
        ->capture_default_str();
    option("--batch-size", flags_.batch_size, "N", "Samples in a step")
        ->check(at_least(1))
        ->capture_default_str();
    optimizer_ = option("--optimizer", flags_.optimizer, "NAME",
                        "How variables are updated, with default rates:\n" + optimizers)
                     ->check(is_optimizer())
                     ->capture_default_str();
    rate_ = option("--learning-rate", flags_.learning_rate, "X",
                   "The rate at the start, which falls to 0 along half a\ncosine over all epochs")
                ->check(positive_number());
    if (flags_.learning_rate > 0) rate_->capture_default_str();
    option("--seed", flags_.seed, "N", "Of initial values, shuffling and dropout")
        ->check(at_least(0))
        ->capture_default_str();
  }

  void add_checkpoints() {
    group_ = "Checkpoints";
    option("--checkpoint", flags_.checkpoints, "DIR",
           "Keep what training needs to go on in DIR, after each\nepoch and at Ctrl-C");
    option("--checkpoint-every", flags_.checkpoint_every, "N", "And every N steps")
        ->check(at_least(1))
        ->needs("--checkpoint");
    flag("--resume", flags_.resume,
         "Go on from the newest checkpoint, if there is one, as if\nnothing had stopped it")
        ->needs("--checkpoint");
  }

  void add_data_and_device(const std::string& data) {
    group_ = "Data and device";
    if (!data.empty()) option("--data", flags_.data, "DIR", data);
    option("--limit", flags_.limit, "N",
           "Use only the first N training samples, and as many\nvalidation samples")
        ->check(at_least(1));
    option("--device", flags_.device, "NAME",
           "Where to compute: cpu, cuda:0, ...; auto: where a step is\nestimated to take the "
           "least time")
        ->capture_default_str();
    option("--precision", flags_.precision, "NAME",
           "Of products: fp32, exact; tf32, of 11 bits on a GPU; bf16\nor fp16, stored in 16 "
           "bits")
        ->transform(is_precision())
        ->default_str("fp32");
    option("--steps-per-launch", flags_.steps_per_launch, "N",
           "Batches that a GPU trains on in one call; a few dozen\nunless given")
        ->check(at_least(1));
    option("--memory-limit", flags_.memory_limit, "SIZE",
           "Refuse to run what needs more: 200MB, 1GB")
        ->transform(CLI::AsSizeValue(true));
    option("--threads", flags_.threads, "N", "CPU threads; 0 means all cores")
        ->check(at_least(0))
        ->capture_default_str();
  }

  void add_output() {
    group_ = "Output";
    option("--log-every", flags_.log_every, "N",
           "Print the line, of the epoch so far, every N batches too;\nmeasures the validation "
           "data each time")
        ->check(at_least(1));
    option("--metrics", flags_.metrics, "FILE", "Write each line's numbers to FILE, as JSON")
        ->check(writable_file());
    option("--events", flags_.events, "DIR",
           "Write curves, weights and the graph for TensorBoard:\ntensorboard --logdir DIR");
    option("--dot", flags_.dot, "FILE",
           "Draw the graph into FILE, in Graphviz' language: look\nat it with dot -Tsvg FILE")
        ->check(writable_file());
    option("--dot-depth", flags_.dot_depth, "N",
           "How many levels of scopes --dot opens; as many as a\nscreen can show, unless given")
        ->check(at_least(0));
    option("--trace", flags_.trace, "FILE",
           "Write what ten steps of training did to FILE: look at\nit in Perfetto or "
           "chrome://tracing")
        ->check(writable_file());
    flag("--profile", flags_.profile,
         "Print where the time of training went, node by node,\nbeside what the machine can do "
         "at most");
    flag("--explain-placement", flags_.explain_placement, "Print where each node runs, and why");
    flag("--explain-memory", flags_.explain_memory,
         "Print how much memory a step of training takes, and for what");
    flag("--explain-passes", flags_.explain_passes,
         "Print how the graph of a step was rewritten");
    flag("--exact-rewrites", flags_.exact_rewrites,
         "Leave out graph rewrites that change more than rounding");
    option(
        "--check-numerics", flags_.check_numerics, "[DIR]",
        "Stop at the node that makes the first NaN or infinity,\nand keep the step in DIR; slow")
        ->expected(0, 1)
        ->default_str("numerics");
    option(kReplay, flags_.replay, "BUNDLE",
           "Run the step that was kept in BUNDLE again, with the\nflags that it was run with");
    flag("--quiet", flags_.quiet, "Print the epochs' lines only");
  }

  void add(const ProgramFlag& own) {
    std::visit(
        [&](auto* value) {
          using T = std::remove_pointer_t<decltype(value)>;
          const char* name = own.name.c_str();
          if constexpr (std::is_same_v<T, bool>) {
            flag(name, *value, own.description);
          } else {
            CLI::Option* added = option(name, *value, own.type.c_str(), own.description);
            if constexpr (std::is_same_v<T, std::int64_t>) added->check(at_least(1));
            if constexpr (std::is_same_v<T, double>) added->check(positive_number());
            if (own.is_written) added->check(writable_file());
            if constexpr (!std::is_same_v<T, std::vector<fs::path>>) added->capture_default_str();
          }
        },
        own.value);
  }

  CLI::App app_;
  TrainingFlags& flags_;
  CLI::Option* optimizer_ = nullptr;
  CLI::Option* rate_ = nullptr;
  std::string group_;
};

int fail(std::string_view message, int status) {
  std::fflush(stdout);
  std::fprintf(stderr, "error: %.*s\n", static_cast<int>(message.size()), message.data());
  return status;
}

}  // namespace
}  // namespace command_line

int run_program(int argc, char** argv, const ProgramDescription& description,
                const std::function<int(const TrainingFlags&)>& body) {
  using command_line::fail;
  try {
    TrainingFlags flags = description.defaults;
    command_line::Parser parser(description, flags);
    try {
      if (!parser.parse({argv + 1, argv + argc})) return 0;
    } catch (const CLI::ParseError& error) {
      return fail(std::string(error.what()) + " (--help lists the flags)", 2);
    }
    return body(flags);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}

}  // namespace gradgraph

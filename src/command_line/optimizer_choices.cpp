#include "command_line/optimizer_choices.h"

#include "core/text.h"
#include "gradgraph/command_line.h"
#include "gradgraph/error.h"

namespace gradgraph {
namespace command_line {
namespace {

template <class T>
Optimizer make(LearningRate rate, LossScale scale) {
  return T{.learning_rate = std::move(rate), .loss_scale = scale};
}

Optimizer make_momentum(LearningRate rate, LossScale scale) {
  return GradientDescent{.learning_rate = std::move(rate), .momentum = 0.9, .loss_scale = scale};
}

}  // namespace

const std::array<OptimizerChoice, 6> kOptimizers = {{{"adam", 1e-3, make<Adam>},
                                                     {"adamw", 1e-3, make<AdamW>},
                                                     {"rmsprop", 1e-3, make<RmsProp>},
                                                     {"adagrad", 1e-2, make<Adagrad>},
                                                     {"momentum", 2e-2, make_momentum},
                                                     {"sgd", 1e-1, make<GradientDescent>}}};

const OptimizerChoice& optimizer_choice(const std::string& name, SourceLocation where) {
  for (const OptimizerChoice& choice : kOptimizers)
    if (name == choice.name) return choice;
  std::string names;
  for (const OptimizerChoice& choice : kOptimizers)
    names += std::string(names.empty() ? "" : ", ") + choice.name;
  throw BuildError(fmt::format("there is no optimizer '{}', only {}", name, names), where);
}

}  // namespace command_line

Optimizer make_optimizer(const TrainingFlags& flags, std::int64_t samples, SourceLocation where) {
  const auto& choice = command_line::optimizer_choice(flags.optimizer, where);
  if (samples < 1 || flags.batch_size < 1)
    throw BuildError(
        fmt::format("an optimizer for {} samples, {} in a batch", samples, flags.batch_size),
        where);
  const std::int64_t batches = (samples + flags.batch_size - 1) / flags.batch_size;
  const double rate = flags.learning_rate > 0 ? flags.learning_rate : choice.learning_rate;
  return choice.make(cosine_schedule(rate, flags.epochs * batches, 0, where),
                     flags.precision == Precision::fp16 ? LossScale::dynamic() : LossScale());
}

}  // namespace gradgraph

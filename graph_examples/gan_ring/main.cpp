/// Two networks against each other, until one draws a ring of points as the data has it: a GAN.
#include <cstdio>
#include <filesystem>
#include <string>

#include "gan_ring/ring.h"
#include "gradgraph/gradgraph.h"

namespace {

int run(const gg::TrainingFlags& flags, const std::filesystem::path& file) {
  gg::data::require_images();
  const gg::data::Dataset train =
      gg::data::Dataset{{"points", ring::points_of(50000, flags.seed)}}.first(flags.limit);

  gg::Graph graph;
  const auto layers = [](const std::string& name, std::int64_t outputs) {
    const auto hidden = [&](const char* layer) {
      return gg::nn::Dense({.units = 128, .activation = gg::relu}, name + layer);
    };
    return gg::nn::Sequential{hidden("_hidden1"), hidden("_hidden2"),
                              gg::nn::Dense({.units = outputs}, name + "_output")};
  };
  const auto generate = layers("generator", 2), discriminate = layers("discriminator", 1);
  const auto real = gg::placeholder(graph, gg::float32, {gg::any, 2}, "points");
  const auto noise = gg::random_normal(graph, gg::shape_of(real));
  const auto made = generate(noise);
  const auto is_real = discriminate(real), is_made = discriminate(made);

  // What one tries to tell apart, the other makes alike. Source: Goodfellow et al. 2014.
  const auto told = gg::mean(gg::softplus(-is_real)) + gg::mean(gg::softplus(is_made));
  const auto taken = gg::named(gg::mean(gg::softplus(-is_made)), "loss");
  const auto optimizer = gg::make_optimizer(flags, train.size());
  const auto train_op = gg::group(
      graph, {optimizer.minimize(told, gg::trainable_variables(graph, "discriminator_*")),
              optimizer.minimize(taken, gg::trainable_variables(graph, "generator_*"))});

  gg::Session session(graph, gg::session_options(flags));
  const auto drawn = generate(gg::random_normal(graph, {2000, 2}));
  const int status = gg::train(flags, session,
                               {.batch = {.arrays = {{"points", real}}},
                                .loss = taken,
                                .metrics = {{"discriminator", told}},
                                .train = train_op},
                               {.training = train, .source = "a ring of 8 Gaussians"});
  if (status != 0) return status;
  const gg::Tensor points = session.run(drawn);
  gg::data::write_png(file, ring::picture(points));
  const auto [covered, near] = ring::judge(points);
  if (!flags.quiet)
    std::printf("%d of %d modes covered, %.1f %% of 2000 points near one: %s\n", covered,
                ring::kModes, 100 * near, file.c_str());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  std::filesystem::path file = "gan_ring.png";
  return gg::run_program(
      argc, argv,
      {.name = "gan_ring",
       .description = "Trains a generative adversarial network on points around a ring.",
       .defaults = {.epochs = 40, .batch_size = 256, .optimizer = "rmsprop"},
       .metric = "discriminator",
       .flags = {{"--samples", &file, "FILE", "Where its points go, a PNG file", true}}},
      [&](const gg::TrainingFlags& flags) { return run(flags, file); });
}

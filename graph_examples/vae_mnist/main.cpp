/// A variational autoencoder on MNIST, which then draws digits that nobody wrote, as a PNG.
#include <cstdio>
#include <filesystem>

#include "common/mnist.h"
#include "gradgraph/gradgraph.h"

namespace {

struct Settings {
  std::int64_t latent = 16;
  std::filesystem::path samples = "vae_mnist.png";
};

int run(const gg::TrainingFlags& flags, const Settings& settings) {
  gg::data::require_images();
  const gg::TrainingData mnist = examples::load_mnist(flags);
  gg::Graph graph;
  const gg::data::GraphBatch batch =
      gg::data::graph_batch(graph, {mnist.training, mnist.validation});
  const auto pixels = gg::nn::flatten(batch["images"]);

  // From an image to a normal distribution in the latent space, and a draw from it, through which
  // gradients pass. Source: Kingma and Welling 2014.
  const auto x = gg::nn::dense(pixels, {.units = 400, .activation = gg::relu}, "encode");
  const auto mean = gg::nn::dense(x, {.units = settings.latent}, "mean");
  const auto log_variance = gg::nn::dense(x, {.units = settings.latent}, "log_variance");
  const auto noise = gg::random_normal(graph, gg::shape_of(mean));
  const auto z = mean + noise * gg::exp(log_variance * 0.5);

  // And back: a decoder that is applied twice, to that draw and to draws of its own.
  const gg::nn::Sequential decode = {
      gg::nn::Dense({.units = 400, .activation = gg::relu}, "decode"),
      gg::nn::Dense({.units = 28 * 28}, "pixels")};
  const auto logits = decode(z);
  const auto drawn = gg::random_normal(graph, {100, settings.latent});
  const auto samples = gg::reshape(gg::sigmoid(decode(drawn)), {100, 28, 28, 1});

  // Both parts of the loss are nats an image: pixels that are wrong, and how far the distribution
  // is from a standard normal one.
  const auto wrong = gg::sum(gg::sigmoid_cross_entropy(logits, pixels), -1);
  const auto reconstruction = gg::named(gg::mean(wrong), "reconstruction");
  const auto far = gg::sum(gg::square(mean) + gg::exp(log_variance) - log_variance - 1, -1);
  const auto divergence = gg::named(gg::mean(far) * 0.5, "divergence");
  const auto loss = gg::named(reconstruction + divergence, "loss");
  const auto train_op = gg::make_optimizer(flags, mnist.training.size()).minimize(loss);

  gg::Session session(graph, gg::session_options(flags));
  const int status =
      gg::train(flags, session,
                {.batch = batch,
                 .loss = loss,
                 .metrics = {{"reconstruction", reconstruction}, {"divergence", divergence}},
                 .train = train_op},
                mnist);
  if (status != 0) return status;
  gg::data::write_png(settings.samples, gg::data::side_by_side(session.run(samples), 10));
  if (!flags.quiet) std::printf("100 samples: %s\n", settings.samples.c_str());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  return gg::run_program(
      argc, argv,
      {.name = "vae_mnist",
       .description = "Trains a variational autoencoder on MNIST, and draws samples from it.",
       .defaults = {.epochs = 8},
       .data = examples::kMnistFlag,
       .about_data = examples::kAboutMnist,
       .metric = "reconstruction",
       .flags = {{"--latent", &settings.latent, "N", "Numbers that stand for an image"},
                 {"--samples", &settings.samples, "FILE", "Where the samples go, a PNG file",
                  true}}},
      [&](const gg::TrainingFlags& flags) { return run(flags, settings); });
}

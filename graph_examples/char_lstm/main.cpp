/// An LSTM that reads this repository's documents, character by character, and writes on.
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "char_lstm/text.h"
#include "gradgraph/gradgraph.h"

namespace {

struct Settings {
  std::vector<std::filesystem::path> text = text::documents();
  std::int64_t length = 64, units = 192;
  double temperature = 0.6;
};

int run(const gg::TrainingFlags& flags, const Settings& settings) {
  const std::string characters = text::read(settings.text);
  const text::Alphabet alphabet(characters);
  const gg::data::Dataset all = {{"text", text::pieces(characters, alphabet, settings.length)}};
  if (all.size() < 10)
    throw gg::DataError(std::to_string(characters.size()) +
                        " characters are too few for samples of " +
                        std::to_string(settings.length));
  auto [train, held_out] = all.split(0.9);
  train = train.first(flags.limit), held_out = held_out.first(flags.limit);

  // The model: from each character, and all before it, the next one.
  gg::Graph graph;
  const gg::nn::Embedding embed(alphabet.size(), 48);
  const gg::nn::Lstm lstm({.units = settings.units});
  const gg::nn::Dense score({.units = alphabet.size()}, "logits");
  const auto piece = gg::placeholder(graph, gg::int32, {gg::any, settings.length + 1}, "text");
  const auto now = gg::slice(piece, {0, 0}, {-1, settings.length});
  const auto next = gg::slice(piece, {0, 1}, {-1, settings.length});
  const auto logits = score(lstm(embed(now)).outputs);

  const auto loss = gg::named(gg::mean(gg::sparse_softmax_cross_entropy(logits, next)), "loss");
  const auto correct = gg::equal(gg::argmax(logits, -1), gg::cast(next, gg::int64));
  const auto accuracy = gg::named(gg::mean(gg::cast(correct, gg::float32)), "accuracy");
  const auto train_op = gg::make_optimizer(flags, train.size()).minimize(loss);

  // The same layers, one step at a time: what follows one character, from a state to the next.
  const auto character = gg::placeholder(graph, gg::int32, {1}, "character");
  const auto hidden = gg::placeholder(graph, gg::float32, {1, settings.units}, "hidden");
  const auto cell = gg::placeholder(graph, gg::float32, {1, settings.units}, "cell");
  const auto state = lstm.step(embed(character), {hidden, cell});
  const auto drawn = gg::categorical(score(state.hidden) / settings.temperature);

  gg::Session session(graph, gg::session_options(flags));
  auto step = session.prepare({character, hidden, cell}, {drawn, state.hidden, state.cell});
  const auto print_sample = [&] {
    gg::Tensor h = gg::Tensor::zeros(gg::float32, {1, settings.units}), c = h.clone();
    std::string written = characters.substr(0, 16);  // it reads these, and goes on from there
    for (std::size_t i = 0; i < 256; ++i) {
      const auto results = step(gg::Tensor{alphabet.number(written[i])}, h, c);
      if (i + 1 == written.size())
        written += alphabet.characters[static_cast<std::size_t>(results[0].item<std::int64_t>())];
      h = results[1], c = results[2];
    }
    for (char& one : written)
      if (static_cast<unsigned char>(one) > 127) one = '?';  // a byte is not all of a character
    std::printf("%s\n\n", written.c_str());
  };
  return gg::train(flags, session,
                   {.batch = {.arrays = {{"text", piece}}},
                    .loss = loss,
                    .metrics = {{"accuracy", accuracy}},
                    .train = train_op},
                   {.training = train,
                    .validation = held_out,
                    .source = std::to_string(characters.size()) + " characters, " +
                              std::to_string(alphabet.size()) + " of them different"},
                   {.log = [&](const gg::TrainingLog& log) {
                     std::printf("%s\n", log.line().c_str());
                     if (!flags.quiet && log.epoch_is_done &&
                         (log.epoch % 5 == 0 || log.epoch == flags.epochs))
                       print_sample();
                     std::fflush(stdout);
                   }});
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  return gg::run_program(
      argc, argv,
      {.name = "char_lstm",
       .description = "Trains an LSTM on texts, and prints what it writes.",
       .defaults = {.epochs = 15, .batch_size = 32, .learning_rate = 8e-3},
       .flags = {{"--text", &settings.text, "FILE...",
                  "Texts to learn; else this repository's documents"},
                 {"--length", &settings.length, "N", "Characters in a sample"},
                 {"--units", &settings.units, "N", "Of the LSTM"},
                 {"--temperature", &settings.temperature, "X", "How bold the writing is"}}},
      [&](const gg::TrainingFlags& flags) { return run(flags, settings); });
}

/// A table of houses in a CSV file: what each costs, from all else in its line, about 6 % off.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "gradgraph/gradgraph.h"

namespace {

/// Of each column, without the NaN of missing values.
struct Moments {
  std::vector<double> means, deviations;
};
Moments moments(const gg::Tensor& table) {
  const auto rows = table.shape()[0], columns = table.shape()[1];
  Moments result;
  for (std::int64_t column = 0; column < columns; ++column) {
    double count = 0, sum = 0, squares = 0;
    for (std::int64_t row = 0; row < rows; ++row)
      if (const double x = table.at<float>({row, column}); !std::isnan(x))
        count += 1, sum += x, squares += x * x;
    const double mean = sum / count, variance = squares / count - mean * mean;
    result.means.push_back(mean);
    result.deviations.push_back(variance > 0 ? std::sqrt(variance) : 1);
  }
  return result;
}

int run(const gg::TrainingFlags& flags, const std::filesystem::path& file) {
  // The table, a column an array. Texts become class numbers, a number that is missing NaN.
  const gg::data::Dataset table = gg::data::read_csv(file, {.fill = NAN});
  const auto districts = static_cast<std::int64_t>(table.classes("district").size());

  // What the model gets, and what it is to find: numbers side by side, a class, a price. A fifth
  // of the houses is held out.
  const gg::data::Dataset houses = {
      {"numbers", gg::data::stacked(table, {"area", "rooms", "year", "distance"})},
      {"district", table["district"]},
      {"price", gg::data::stacked(table, {"price"})}};
  auto [train, held_out] = houses.shuffled(flags.seed).split(0.8);
  train = train.first(flags.limit), held_out = held_out.first(flags.limit);

  // Every number to mean 0 and deviation 1, as the training data has it, batch by batch.
  const auto [means, deviations] = moments(train["numbers"]);
  const std::vector<gg::data::Transform> transforms = {
      gg::data::normalize("numbers", means, deviations)};
  const Moments prices = moments(train["price"]);

  gg::Graph graph;
  const auto numbers = gg::placeholder(graph, gg::float32, {gg::any, 4}, "numbers");
  const auto district = gg::placeholder(graph, gg::int64, {gg::any}, "district");
  const auto price = gg::placeholder(graph, gg::float32, {gg::any, 1}, "price");

  // What is missing counts as the mean, 0, and the model is told that it is missing.
  const auto is_missing = gg::is_nan(numbers);
  const auto known = gg::where(is_missing, gg::zeros_like(numbers), numbers);
  auto x = gg::concat(
      {known, gg::cast(is_missing, gg::float32), gg::one_hot(district, districts)}, -1);
  x = gg::nn::dense(x, {.units = 64, .activation = gg::relu}, "hidden1");
  x = gg::nn::dense(x, {.units = 32, .activation = gg::relu}, "hidden2");
  const auto score = gg::nn::dense(x, {.units = 1}, "score");
  const auto guess = score * prices.deviations[0] + prices.means[0];

  const auto loss =
      gg::named(gg::mean(gg::square((guess - price) / prices.deviations[0])), "loss");
  const auto error = gg::named(gg::mean(gg::abs(guess - price) / price), "error");
  const auto train_op = gg::make_optimizer(flags, train.size()).minimize(loss);

  gg::Session session(graph, gg::session_options(flags));
  const gg::TrainingStep step = {
      .batch = {.arrays = {{"numbers", numbers}, {"district", district}, {"price", price}}},
      .loss = loss,
      .metrics = {{"error", error}},
      .train = train_op};
  const int status =
      gg::train(flags, session, step,
                {.training = train, .validation = held_out, .source = file.filename().string()},
                {.transforms = transforms, .validation_transforms = transforms});
  if (status != 0 || flags.quiet) return status;

  const auto last = gg::evaluate(session, step, held_out, {.transforms = transforms});
  const gg::Tensor paid = held_out["price"];
  double of_mean = 0;
  for (const float one : paid.span<float>())
    of_mean += std::abs(prices.means[0] / one - 1) / static_cast<double>(held_out.size());
  std::printf("held-out houses: %.1f %% off on average; their mean price is %.1f %% off\n",
              100 * last[1].validation, 100 * of_mean);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  std::filesystem::path file = std::filesystem::path(SOURCES) / "csv_regression/houses.csv";
  return gg::run_program(
      argc, argv,
      {.name = "csv_regression",
       .description = "Learns the prices of houses from a table in a CSV file.",
       .defaults = {.epochs = 40, .batch_size = 16, .learning_rate = 5e-3},
       .metric = "error",
       .flags = {{"--table", &file, "FILE", "With the columns that houses.csv has"}}},
      [&](const gg::TrainingFlags& flags) { return run(flags, file); });
}

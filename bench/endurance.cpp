/// Trains a small network for a very long time: `endurance [steps] [runs] [steps of a run]`
/// (1,000,000, 20 and 50,000). Exits with 1 where resident memory grows after the first tenth of
/// the steps, or where two of the runs, all from one seed, end with other weights.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "weights_hash.h"

namespace gg = gradgraph;

namespace {

constexpr std::int64_t kBatch = 32, kInputs = 16, kClasses = 4, kBatches = 64;
constexpr int kLooks = 10;

/// Without pages of files: when the system maps another one of code is its own affair.
std::int64_t resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (std::int64_t kilobytes = 0; word == "RssAnon:" && status >> kilobytes) return kilobytes;
  return 0;
}

/// A perceptron with dropout, and batches of points around the corners of a cube.
class Training {
 public:
  Training() {
    const auto x = gg::placeholder(graph_, gg::float32, {gg::any, kInputs}, "x");
    const auto labels = gg::placeholder(graph_, gg::int64, {gg::any}, "labels");
    const auto hidden = gg::nn::dense(x, {.units = 32, .activation = gg::relu});
    const auto logits =
        gg::nn::dense(gg::nn::dropout(hidden, 0.2, gg::constant(graph_, gg::Tensor(true))),
                      {.units = kClasses});
    const auto loss = gg::mean(gg::sparse_softmax_cross_entropy(logits, labels));
    const auto train = gg::Adam{.learning_rate = 1e-3}.minimize(loss);
    step_ = session_.prepare({x, labels}, {loss, train});
    const auto noise = gg::random_normal(graph_, {kBatches * kBatch, kInputs});
    const gg::Tensor values = session_.run(noise);
    for (std::int64_t batch = 0; batch < kBatches; ++batch) {
      gg::Tensor inputs(gg::float32, {kBatch, kInputs}), classes(gg::int64, {kBatch});
      for (std::int64_t i = 0; i < kBatch; ++i) {
        const std::int64_t label = (batch * 7 + i * 3) % kClasses;
        classes.data<std::int64_t>()[i] = label;
        for (std::int64_t j = 0; j < kInputs; ++j)
          inputs.data<float>()[i * kInputs + j] =
              values.data<float>()[(batch * kBatch + i) * kInputs + j] +
              (j % kClasses == label ? 1.F : 0.F);
      }
      batches_.push_back({inputs, classes});
    }
  }

  void run(std::int64_t steps) {
    for (std::int64_t i = 0; i < steps; ++i, ++taken_) {
      const auto& [inputs, labels] = batches_[static_cast<std::size_t>(taken_ % kBatches)];
      loss_ = step_(inputs, labels)[0].item<float>();
    }
  }
  float loss() const { return loss_; }
  std::uint64_t hash() { return weights_hash(graph_, session_); }

 private:
  struct Batch {
    gg::Tensor inputs, labels;
  };
  gg::Graph graph_;
  gg::Session session_{graph_, {.seed = 1}};
  gg::Callable step_;
  std::vector<Batch> batches_;
  std::int64_t taken_ = 0;
  float loss_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, std::int64_t otherwise) {
    return argc > i ? std::atoll(argv[i]) : otherwise;
  };
  const std::int64_t steps = number(1, 1'000'000), runs = number(2, 20), each = number(3, 50'000);
  std::int64_t first = 0, last = 0;
  {
    Training training;
    // Looking takes memory, too, the first time.
    std::printf("before the first step: %jd kB resident\n",
                static_cast<std::intmax_t>(resident_kilobytes()));
    for (int look = 1; look <= kLooks; ++look) {
      training.run(steps / kLooks);
      last = resident_kilobytes();
      if (look == 1) first = last;
      std::printf("%jd steps: loss %.4f, %jd kB resident\n",
                  static_cast<std::intmax_t>(look * (steps / kLooks)), training.loss(),
                  static_cast<std::intmax_t>(last));
      std::fflush(stdout);
    }
  }
  std::uint64_t hash = 0;
  std::int64_t different = 0;
  for (std::int64_t run = 0; run < runs; ++run) {
    Training training;
    training.run(each);
    if (run == 0) hash = training.hash();
    different += training.hash() != hash;
  }
  std::printf("%jd runs of %jd steps: weights %016jx, %jd differ\n",
              static_cast<std::intmax_t>(runs), static_cast<std::intmax_t>(each),
              static_cast<std::uintmax_t>(hash), static_cast<std::intmax_t>(different));
  return last <= first && different == 0 ? 0 : 1;
}

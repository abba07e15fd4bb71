#include "io/data/shuffle.h"

#include <numeric>
#include <utility>

#include "core/text.h"
#include "gradgraph/data.h"

namespace gradgraph::data {
namespace {

/// SplitMix64: Steele, Lea and Flood 2014.
class Generator {
 public:
  explicit Generator(std::uint64_t state) : state_(state) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
  /// Uniform in [0, bound): draws from the incomplete last stretch are refused.
  std::uint64_t below(std::uint64_t bound) {
    const std::uint64_t refused = -bound % bound;  // 2^64 mod bound
    std::uint64_t draw = next();
    while (draw < refused) draw = next();
    return draw % bound;
  }

 private:
  std::uint64_t state_;
};

}  // namespace

void shuffle(std::span<std::int64_t> order, std::uint64_t seed, std::int64_t epoch) {
  std::iota(order.begin(), order.end(), std::int64_t{0});
  // The seed is mixed first, so that (seed, epoch + 1) differs from (seed + 1, epoch).
  Generator generator(Generator(seed).next() + static_cast<std::uint64_t>(epoch));
  for (std::size_t left = order.size(); left > 1; --left)
    std::swap(order[left - 1], order[generator.below(left)]);
}

Tensor shuffled_samples(std::int64_t size, std::uint64_t seed, std::int64_t epoch,
                        SourceLocation where) {
  if (size < 0) throw BuildError(fmt::format("there are no {} samples", size), where);
  Tensor samples(int64, Shape{size}, where);
  shuffle(samples.span<std::int64_t>(), seed, epoch);
  return samples;
}

}  // namespace gradgraph::data

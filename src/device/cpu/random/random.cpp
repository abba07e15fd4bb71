#include <algorithm>
#include <cmath>

#include "device/cpu/elements.h"
#include "device/cpu/isa/levels.h"
#include "device/cpu/kernels.h"
#include "device/cpu/random/random_words.h"
#include "device/parallel.h"
#include "device/shared/distributions.h"

namespace gradgraph {

GRADGRAPH_LEVELS(const RandomWords, words)

RandomWords best_random_words() { return GRADGRAPH_AT_LEVEL(best_isa(), words); }

namespace {

/// FNV-1a of the user's name for the node: the same in every session and on every device. What
/// draws again draws the same.
std::uint64_t name_hash(const Node& node) {
  const Node* drawn = node.origin() ? node.origin() : &node;
  if (drawn->recomputes()) drawn = drawn->recomputes();
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : drawn->name())
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

constexpr std::int64_t kWords = 4 * kWordBlocks;

/// A kernel whose elements take `words_each` words each: `draw(words, elements, count)`.
template <class T, class Draw>
Kernel make_drawn(const KernelSite& site, std::int64_t words_each, Draw draw) {
  const std::int64_t count = site.output_shape().num_elements(), batch = kWords / words_each;
  return {[=, make_words = best_random_words(), node = name_hash(site.node()),
           threads = site.threads()](const KernelArgs& args) {
    T* out = args.output<T>();
    const std::uint64_t key = philox_key(args.run->seed, node, args.run->iteration);
    const std::int64_t step = args.run->step;
    parallel_for((count + batch - 1) / batch, kParallelGrain / (4 * kWords), threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   std::uint32_t words[kWords];
                   for (std::int64_t i = begin; i < end; ++i) {
                     make_words(key, step, i * kWordBlocks, words);
                     draw(words, out + i * batch, std::min(batch, count - i * batch));
                   }
                 });
  }};
}

/// A uniform number from one word for float32, from two for float64.
template <class T>
constexpr std::int64_t kWordsEach = sizeof(T) / 4;
template <class T>
double open_unit(const std::uint32_t* words) {
  if constexpr (sizeof(T) == 4)
    return distributions::open_unit(words[0]);
  else
    return distributions::open_unit(words[0], words[1]);
}

template <class T, class Transform>
Kernel make_transformed(const KernelSite& site, Transform transform) {
  return make_drawn<T>(site, kWordsEach<T>,
                       [=](const std::uint32_t* words, T* out, std::int64_t count) {
                         for (std::int64_t i = 0; i < count; ++i)
                           out[i] = transform(open_unit<T>(words + i * kWordsEach<T>));
                       });
}

template <class T>
Kernel make_uniform(const KernelSite& site) {
  const double low = site.attribute<double>("low"), high = site.attribute<double>("high");
  // Rounding must not reach `high` itself, nor fall below `low`.
  const T first = static_cast<T>(low);
  const T last = std::max(first, std::nextafter(static_cast<T>(high), first));
  return make_transformed<T>(site, [=](double u) {
    return std::clamp(static_cast<T>(low + u * (high - low)), first, last);
  });
}

/// Elements come in pairs, of which an odd count leaves the last half out.
template <class T>
Kernel make_normal(const KernelSite& site) {
  const double mean = site.attribute<double>("mean"), stddev = site.attribute<double>("stddev");
  return make_drawn<T>(
      site, kWordsEach<T>, [=](const std::uint32_t* words, T* out, std::int64_t count) {
        for (std::int64_t i = 0; i < count; i += 2) {
          const std::uint32_t* at = words + i * kWordsEach<T>;
          const auto pair =
              distributions::box_muller(open_unit<T>(at), open_unit<T>(at + kWordsEach<T>));
          out[i] = static_cast<T>(mean + stddev * pair.first);
          if (i + 1 < count) out[i + 1] = static_cast<T>(mean + stddev * pair.second);
        }
      });
}

template <class T>
Kernel make_truncated_normal(const KernelSite& site) {
  const double mean = site.attribute<double>("mean"), stddev = site.attribute<double>("stddev");
  return make_transformed<T>(site, [=](double u) {
    return static_cast<T>(mean + stddev * distributions::truncated_normal(u));
  });
}

/// One word an element whatever the dtype, so that float32 and float64 drop the same ones.
template <class T>
Kernel make_dropout_mask(const KernelSite& site) {
  const double rate = site.attribute<double>("rate");
  const auto threshold = static_cast<std::uint32_t>(rate * 0x1p32);
  const T kept = static_cast<T>(1 / (1 - rate));
  const auto draw = [=](const std::uint32_t* words, T* out, std::int64_t elements) {
    const T scale = kept;  // out of the closure, which `out` could otherwise point to
    for (std::int64_t i = 0; i < elements; ++i) out[i] = words[i] >= threshold ? scale : T{0};
  };
  const Kernel mask = make_drawn<T>(site, 1, draw);
  return {[mask, count = site.output_shape().num_elements()](const KernelArgs& args) {
    if (*args.input<bool>(1))
      mask.run(args);
    else
      std::fill_n(args.output<T>(), count, T{1});
  }};
}

}  // namespace

void register_random_kernels(KernelRegistry& registry) {
  const auto add = [&](std::string_view op, auto make_float, auto make_double) {
    registry.add(op, kCpu, {float32}, make_float);
    registry.add(op, kCpu, {float64}, make_double);
  };
  add("random_uniform", make_uniform<float>, make_uniform<double>);
  add("random_normal", make_normal<float>, make_normal<double>);
  add("truncated_normal", make_truncated_normal<float>, make_truncated_normal<double>);
  add("dropout_mask", make_dropout_mask<float>, make_dropout_mask<double>);
}

}  // namespace gradgraph

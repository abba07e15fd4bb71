#include <algorithm>

#include "device/cpu/isa/levels.h"
#include "device/cpu/kernels.h"
#include "device/cpu/random/random_words.h"
#include "device/parallel.h"
#include "device/shared/draws.h"
#include "device/shared/elements.h"

namespace gradgraph {

GRADGRAPH_LEVELS(const RandomWords, words)

RandomWords best_random_words() { return GRADGRAPH_AT_LEVEL(best_isa(), words); }

namespace {

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
    parallel_for((count + batch - 1) / batch, grain_of(4 * kWords), threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   std::uint32_t words[kWords];
                   for (std::int64_t i = begin; i < end; ++i) {
                     make_words(key, step, i * kWordBlocks, words);
                     draw(words, out + i * batch, std::min(batch, count - i * batch));
                   }
                 });
  }};
}

template <class T, class Draw>
Kernel make_transformed(const KernelSite& site) {
  return make_drawn<T>(
      site, kWordsEach<T>,
      [draw = Draw(site)](const std::uint32_t* words, T* out, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i)
          out[i] = draw(open_unit<T>(words + i * kWordsEach<T>));
      });
}

/// An odd count leaves the last half of a pair out.
template <class T>
Kernel make_normal(const KernelSite& site) {
  return make_drawn<T>(
      site, kWordsEach<T>,
      [draw = NormalDraw<T>(site)](const std::uint32_t* words, T* out, std::int64_t count) {
        for (std::int64_t i = 0; i < count; i += 2) {
          const auto pair = draw(words + i * kWordsEach<T>);
          out[i] = pair.first;
          if (i + 1 < count) out[i + 1] = pair.second;
        }
      });
}

template <class T>
Kernel make_dropout_mask(const KernelSite& site) {
  const auto draw_all = [given = DropoutDraw<T>(site)](const std::uint32_t* words, T* out,
                                                       std::int64_t elements) {
    const DropoutDraw<T> draw =
        given;  // out of the closure, which `out` could otherwise point to
    for (std::int64_t i = 0; i < elements; ++i) out[i] = draw(words[i]);
  };
  const Kernel mask = make_drawn<T>(site, 1, draw_all);
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
  add("random_uniform", make_transformed<float, UniformDraw<float>>,
      make_transformed<double, UniformDraw<double>>);
  add("random_normal", make_normal<float>, make_normal<double>);
  add("truncated_normal", make_transformed<float, TruncatedNormalDraw<float>>,
      make_transformed<double, TruncatedNormalDraw<double>>);
  add("dropout_mask", make_dropout_mask<float>, make_dropout_mask<double>);
}

}  // namespace gradgraph

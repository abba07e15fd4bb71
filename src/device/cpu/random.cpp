#include <algorithm>
#include <cmath>

#include "device/cpu/elements.h"
#include "device/cpu/kernels.h"
#include "device/cpu/parallel.h"
#include "device/distributions.h"

namespace gradgraph {
namespace {

/// FNV-1a of the user's name for the node: the same in every session and on every device.
std::uint64_t name_hash(const Node& node) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : (node.origin() ? *node.origin() : node).name())
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

/// A kernel that makes `Width` elements of each block of random words: `draw(block, elements)`.
template <class T, int Width, class Draw>
Kernel make_drawn(const KernelSite& site, Draw draw) {
  const std::int64_t count = site.output_shape().num_elements();
  return {[=, node = name_hash(site.node()), threads = site.threads()](const KernelArgs& args) {
    T* out = args.output<T>();
    const std::uint64_t key = philox_key(args.run->seed, node);
    const std::int64_t step = args.run->step;
    parallel_for((count + Width - 1) / Width, kParallelGrain / (4 * Width), threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t block = begin; block < end; ++block) {
                     T elements[Width];
                     draw(philox_block(key, step, block), elements);
                     const std::int64_t at = block * Width;
                     std::copy_n(elements, std::min<std::int64_t>(Width, count - at), out + at);
                   }
                 });
  }};
}

/// Each element from a word (float32) or a pair of words (float64) of its own.
template <class T, class Transform>
Kernel make_transformed(const KernelSite& site, Transform transform) {
  constexpr int width = 16 / sizeof(T);
  return make_drawn<T, width>(site, [transform](PhiloxBlock block, T* elements) {
    for (int i = 0; i < width; ++i) {
      if constexpr (sizeof(T) == 4)
        elements[i] = transform(distributions::open_unit(block.word[i]));
      else
        elements[i] =
            transform(distributions::open_unit(block.word[2 * i], block.word[2 * i + 1]));
    }
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

template <class T>
Kernel make_normal(const KernelSite& site) {
  constexpr int width = 16 / sizeof(T);
  const double mean = site.attribute<double>("mean"), stddev = site.attribute<double>("stddev");
  return make_drawn<T, width>(site, [=](PhiloxBlock block, T* elements) {
    using distributions::open_unit;
    const auto* w = block.word;
    for (int i = 0; i < width; i += 2, w += 2) {
      const auto pair =
          sizeof(T) == 4
              ? distributions::box_muller(open_unit(w[0]), open_unit(w[1]))
              : distributions::box_muller(open_unit(w[0], w[1]), open_unit(w[2], w[3]));
      elements[i] = static_cast<T>(mean + stddev * pair.first);
      elements[i + 1] = static_cast<T>(mean + stddev * pair.second);
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
  const auto threshold = static_cast<std::uint64_t>(std::llround(rate * 0x1p32));
  const T kept = static_cast<T>(1 / (1 - rate));
  const Kernel mask = make_drawn<T, 4>(site, [=](PhiloxBlock block, T* elements) {
    for (int i = 0; i < 4; ++i) elements[i] = block.word[i] >= threshold ? kept : T{0};
  });
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

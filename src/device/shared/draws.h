#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "device/kernel.h"
#include "device/shared/distributions.h"

/// What random ops make of random words, on every device.
namespace gradgraph {

/// FNV-1a of the user's name for the node: the same in every session and on every device. What
/// draws again draws the same.
inline std::uint64_t name_hash(const Node& node) {
  const Node* drawn = node.origin() ? node.origin() : &node;
  if (drawn->recomputes()) drawn = drawn->recomputes();
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : drawn->name())
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

/// A uniform number from one word for float32, from two for float64.
template <class T>
inline constexpr int kWordsEach = sizeof(T) / 4;
template <class T>
HOST_DEVICE double open_unit(const std::uint32_t* words) {
  if constexpr (sizeof(T) == 4)
    return distributions::open_unit(words[0]);
  else
    return distributions::open_unit(words[0], words[1]);
}

template <class T>
struct UniformDraw {
  double low, high;
  T first, last;  ///< rounding must not reach `high` itself, nor fall below `low`

  explicit UniformDraw(const KernelSite& site)
      : low(site.attribute<double>("low")),
        high(site.attribute<double>("high")),
        first(static_cast<T>(low)),
        last(std::max(first, std::nextafter(static_cast<T>(high), first))) {}
  HOST_DEVICE T operator()(double u) const {
    const T x = static_cast<T>(low + u * (high - low));
    return x < first ? first : last < x ? last : x;
  }
};

template <class T>
struct TruncatedNormalDraw {
  double mean, stddev;

  explicit TruncatedNormalDraw(const KernelSite& site)
      : mean(site.attribute<double>("mean")), stddev(site.attribute<double>("stddev")) {}
  HOST_DEVICE T operator()(double u) const {
    return static_cast<T>(mean + stddev * distributions::truncated_normal(u));
  }
};

/// Elements come in pairs.
template <class T>
struct NormalDraw {
  double mean, stddev;

  explicit NormalDraw(const KernelSite& site)
      : mean(site.attribute<double>("mean")), stddev(site.attribute<double>("stddev")) {}
  struct Pair {
    T first, second;
  };
  HOST_DEVICE Pair operator()(const std::uint32_t* words) const {
    const auto pair =
        distributions::box_muller(open_unit<T>(words), open_unit<T>(words + kWordsEach<T>));
    return {static_cast<T>(mean + stddev * pair.first),
            static_cast<T>(mean + stddev * pair.second)};
  }
};

/// One word an element whatever the dtype, so that float32 and float64 drop the same ones.
template <class T>
struct DropoutDraw {
  std::uint32_t threshold;
  T kept;

  explicit DropoutDraw(const KernelSite& site)
      : threshold(static_cast<std::uint32_t>(site.attribute<double>("rate") * 0x1p32)),
        kept(static_cast<T>(1 / (1 - site.attribute<double>("rate")))) {}
  HOST_DEVICE T operator()(std::uint32_t word) const { return word >= threshold ? kept : T{0}; }
};

}  // namespace gradgraph

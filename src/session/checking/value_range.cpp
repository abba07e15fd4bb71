#include "session/checking/value_range.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/text.h"
#include "gradgraph/half.h"

namespace gradgraph {
namespace {

/// So many elements are looked at together; only where one of them is not finite, one by one.
constexpr std::int64_t kBlock = 1024;
/// Least and most of each lane, so that compilers make vectors of them.
constexpr std::int64_t kLanes = 16;

template <class T>
struct BlockRange {
  T least, most;
  bool is_finite;
};

/// Comparisons pass over NaN, so that there are other numbers to tell.
template <class T>
BlockRange<T> range_of(const T* block, std::int64_t count) {
  std::array<T, kLanes> least, most, zero{};
  least.fill(std::numeric_limits<T>::infinity());
  most.fill(-std::numeric_limits<T>::infinity());
  const auto take = [&](std::int64_t i, std::size_t lane) {
    const T x = block[i];
    least[lane] = x < least[lane] ? x : least[lane];
    most[lane] = x > most[lane] ? x : most[lane];
    zero[lane] += x - x;  // NaN of what is not finite
  };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      take(i + lane, static_cast<std::size_t>(lane));
  for (; i < count; ++i) take(i, 0);
  T sum = 0;
  for (const T x : zero) sum += x;
  return {*std::ranges::min_element(least), *std::ranges::max_element(most), sum == 0};
}

/// "[1,2]": where element `number` is.
std::string position(const Shape& shape, std::int64_t number) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(shape.rank()));
  for (int axis = shape.rank(); axis-- > 0;) {
    indices[static_cast<std::size_t>(axis)] = number % shape[axis];
    number /= shape[axis];
  }
  return fmt::format("[{}]", fmt::join(indices, ","));
}

}  // namespace

template <class T>
void ValueRange::add_elements(const T* elements, std::int64_t count) {
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, count - begin);
    const BlockRange<T> range = range_of(elements + begin, size);
    if (range.is_finite) {
      least_ = std::min<double>(least_, range.least);
      most_ = std::max<double>(most_, range.most);
      continue;
    }
    for (std::int64_t i = begin; i < begin + size; ++i) {
      const double x = elements[i];
      if (std::isfinite(x)) {
        least_ = std::min(least_, x);
        most_ = std::max(most_, x);
        continue;
      }
      if (first_fault_ < 0) first_fault_ = seen_ + i;
      ++(std::isnan(x) ? nans_ : infinities_);
    }
  }
  seen_ += count;
}

void ValueRange::add(DType dtype, const void* elements, std::size_t count) {
  const auto add_halves = [&]<class T>(const T* halves) {
    std::array<float, kBlock> block;
    for (std::size_t begin = 0; begin < count; begin += block.size()) {
      const std::size_t size = std::min(block.size(), count - begin);
      std::copy_n(halves + begin, size, block.begin());
      add_elements(block.data(), static_cast<std::int64_t>(size));
    }
  };
  switch (dtype) {
    case float32:
      return add_elements(static_cast<const float*>(elements), static_cast<std::int64_t>(count));
    case float64:
      return add_elements(static_cast<const double*>(elements), static_cast<std::int64_t>(count));
    case float16: return add_halves(static_cast<const Half*>(elements));
    case bfloat16: return add_halves(static_cast<const BFloat16*>(elements));
    default: return;
  }
}

std::string ValueRange::counts() const {
  std::string text;
  if (nans_ > 0) text = fmt::format("{} NaN", nans_);
  if (infinities_ > 0)
    text += fmt::format("{}{} {}", text.empty() ? "" : " and ", infinities_,
                        infinities_ == 1 ? "infinity" : "infinities");
  return text;
}

std::string ValueRange::faults(DType dtype, const Shape& shape) const {
  return fmt::format("{} in {}{}{}", counts(), dtype, shape,
                     shape.rank() == 0 ? "" : ", the first at " + position(shape, first_fault_));
}

std::string ValueRange::words(DType dtype, const Shape& shape) const {
  std::string text = fmt::format("{}{}", dtype, shape);
  if (least_ <= most_) {
    const auto number = [&](double x) {
      return dtype == float64 ? fmt::format("{}", x) : fmt::format("{}", static_cast<float>(x));
    };
    text += least_ == most_ ? fmt::format(" of {}", number(least_))
                            : fmt::format(" from {} to {}", number(least_), number(most_));
  }
  if (!is_finite()) text += " with " + counts();
  return text;
}

}  // namespace gradgraph

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/convert.h"
#include "core/text.h"
#include "device/shared/philox.h"
#include "io/data/transform.h"

namespace gradgraph::data {
namespace {

constexpr std::size_t as_size(std::int64_t number) { return static_cast<std::size_t>(number); }

/// Height, width and bytes of a pixel.
struct Image {
  std::int64_t height, width;
  std::size_t pixel;
};

Image image_of(const SampleType& type, const std::string& array, std::string_view transform,
               SourceLocation where) {
  if (type.shape.rank() != 3)
    throw BuildError(fmt::format("{}: samples of '{}' are {}{}, not images [H,W,C]", transform,
                                 array, type.dtype, type.shape),
                     where);
  return {type.shape[0], type.shape[1], as_size(type.shape[2]) * size_of(type.dtype)};
}

struct Scale final : Transform::Step {
  Scale(std::string name, double by) : Step(std::move(name)), divisor(by) {}

  SampleType plan(const SampleType& from, SourceLocation where) const override {
    if (!(std::abs(divisor) > 0))
      throw BuildError(fmt::format("scale: '{}' cannot be divided by {}", array, divisor), where);
    return {float32, from.shape};
  }
  void apply(const SampleType& from, const void* in, void* out, Random) const override {
    const std::int64_t count = from.shape.num_elements();
    const auto by = static_cast<float>(divisor);
    visit_dtype(from.dtype, [&]<class T>() {
      const T* x = static_cast<const T*>(in);
      std::transform(x, x + count, static_cast<float*>(out),
                     [by](T value) { return convert<float>(value) / by; });
    });
  }

  const double divisor;
};

struct Normalize final : Transform::Step {
  Normalize(std::string name, std::vector<double> mean, std::vector<double> deviation)
      : Step(std::move(name)), means(std::move(mean)), deviations(std::move(deviation)) {}

  SampleType plan(const SampleType& from, SourceLocation where) const override {
    const int rank = from.shape.rank();
    const std::int64_t channels = rank == 0 ? 1 : from.shape[rank - 1];
    for (const auto* values : {&means, &deviations})
      if (values->size() != 1 && static_cast<std::int64_t>(values->size()) != channels)
        throw BuildError(fmt::format("normalize: {} values for the {} channels of '{}'",
                                     values->size(), channels, array),
                         where);
    for (const double deviation : deviations)
      if (!(deviation > 0))
        throw BuildError(
            fmt::format("normalize: a deviation of {}; it must be above 0", deviation), where);
    if (from.dtype != float32 && from.dtype != float64)
      throw BuildError(
          fmt::format("normalize: '{}' is {}; scale it first, to float32", array, from.dtype),
          where);
    return from;
  }
  bool in_place() const override { return true; }
  void apply(const SampleType& from, const void* in, void* out, Random) const override {
    if (from.dtype == float32)
      apply_to<float>(from, in, out);
    else
      apply_to<double>(from, in, out);
  }
  template <class T>
  void apply_to(const SampleType& from, const void* in, void* out) const {
    const std::int64_t count = from.shape.num_elements();
    const std::size_t channels =
        from.shape.rank() == 0 ? 1 : as_size(from.shape[from.shape.rank() - 1]);
    const auto* x = static_cast<const T*>(in);
    auto* y = static_cast<T*>(out);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::size_t c = as_size(i) % channels;
      y[i] = (x[i] - static_cast<T>(means[means.size() == 1 ? 0 : c])) /
             static_cast<T>(deviations[deviations.size() == 1 ? 0 : c]);
    }
  }

  const std::vector<double> means, deviations;
};

struct RandomCrop final : Transform::Step {
  RandomCrop(std::string name, std::int64_t to_height, std::int64_t to_width, std::int64_t zeros)
      : Step(std::move(name)), height(to_height), width(to_width), padding(zeros) {}

  SampleType plan(const SampleType& from, SourceLocation where) const override {
    constexpr std::int64_t kMost = 1 << 20;
    const Image image = image_of(from, array, "random_crop", where);
    if (padding < 0 || padding > kMost || height < 1 || width < 1 ||
        height > image.height + 2 * padding || width > image.width + 2 * padding)
      throw BuildError(fmt::format("random_crop: no part [{},{}] of '{}', {}, between {} zeros",
                                   height, width, array, from.shape, padding),
                       where);
    return {from.dtype, {height, width, from.shape[2]}};
  }
  void apply(const SampleType& from, const void* in, void* out, Random random) const override {
    const Image image = image_of(from, array, "random_crop", {});
    const auto draw = [&](std::int64_t room) {
      return static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(room + 1)));
    };
    const std::int64_t top = draw(image.height + 2 * padding - height) - padding,
                       left = draw(image.width + 2 * padding - width) - padding;
    // Columns of the part that are in the image.
    const std::int64_t first = std::clamp<std::int64_t>(-left, 0, width),
                       last = std::clamp(image.width - left, first, width);
    auto* to = static_cast<std::byte*>(out);
    std::memset(to, 0, as_size(height * width) * image.pixel);
    for (std::int64_t y = 0; y < height; ++y, to += as_size(width) * image.pixel) {
      const std::int64_t row = top + y;
      if (row < 0 || row >= image.height || first == last) continue;
      std::memcpy(to + as_size(first) * image.pixel,
                  static_cast<const std::byte*>(in) +
                      as_size(row * image.width + left + first) * image.pixel,
                  as_size(last - first) * image.pixel);
    }
  }

  const std::int64_t height, width, padding;
};

struct RandomFlip final : Transform::Step {
  RandomFlip(std::string name, double p) : Step(std::move(name)), probability(p) {}

  SampleType plan(const SampleType& from, SourceLocation where) const override {
    static_cast<void>(image_of(from, array, "random_flip", where));
    if (!(probability >= 0 && probability <= 1))
      throw BuildError(fmt::format("random_flip: a probability of {}", probability), where);
    return from;
  }
  bool in_place() const override { return true; }
  void apply(const SampleType& from, const void* in, void* out, Random random) const override {
    const Image image = image_of(from, array, "random_flip", {});
    const std::size_t row = as_size(image.width) * image.pixel;
    auto* to = static_cast<std::byte*>(out);
    if (in != out) std::memcpy(to, in, as_size(image.height) * row);
    if (!(random.uniform() < probability)) return;
    for (std::int64_t y = 0; y < image.height; ++y, to += row)
      for (std::int64_t x = 0; x < image.width / 2; ++x) {
        std::byte* const left = to + as_size(x) * image.pixel;
        std::swap_ranges(left, left + image.pixel, to + row - as_size(x + 1) * image.pixel);
      }
  }

  const double probability;
};

struct OneHot final : Transform::Step {
  OneHot(std::string name, std::int64_t count) : Step(std::move(name)), classes(count) {}

  SampleType plan(const SampleType& from, SourceLocation where) const override {
    if (classes < 1)
      throw BuildError(fmt::format("one_hot: {} classes; 1 or more can be", classes), where);
    if (!is_integer(from.dtype) || from.shape.rank() + 2 > Shape::kMaxRank)
      throw BuildError(fmt::format("one_hot: samples of '{}' are {}{}, not class numbers", array,
                                   from.dtype, from.shape),
                       where);
    Shape shape = from.shape;
    shape.append(classes);
    return {float32, shape};
  }
  void check(const Tensor& batch) const override {
    visit_dtype(batch.dtype(), [&]<class T>() {
      for (std::int64_t i = 0; i < batch.num_elements(); ++i)
        if (const auto number = convert<std::int64_t>(batch.data<T>()[i]);
            number < 0 || number >= classes)
          throw RunError(fmt::format("one_hot: the class {} of '{}' is outside 0..{}", number,
                                     array, classes - 1));
    });
  }
  void apply(const SampleType& from, const void* in, void* out, Random) const override {
    const std::int64_t count = from.shape.num_elements();
    auto* to = static_cast<float*>(out);
    std::fill_n(to, count * classes, 0.F);
    visit_dtype(from.dtype, [&]<class T>() {
      for (std::int64_t i = 0; i < count; ++i)
        to[i * classes + convert<std::int64_t>(static_cast<const T*>(in)[i])] = 1;
    });
  }

  const std::int64_t classes;
};

}  // namespace

Transform scale(std::string array, double divisor) {
  return Transform(std::make_shared<const Scale>(std::move(array), divisor));
}
Transform normalize(std::string array, std::vector<double> means,
                    std::vector<double> deviations) {
  return Transform(std::make_shared<const Normalize>(std::move(array), std::move(means),
                                                     std::move(deviations)));
}
Transform random_crop(std::string array, std::int64_t height, std::int64_t width,
                      std::int64_t padding) {
  return Transform(std::make_shared<const RandomCrop>(std::move(array), height, width, padding));
}
Transform random_flip(std::string array, double probability) {
  return Transform(std::make_shared<const RandomFlip>(std::move(array), probability));
}
Transform one_hot(std::string array, std::int64_t classes) {
  return Transform(std::make_shared<const OneHot>(std::move(array), classes));
}

Random::Random(std::uint64_t seed, std::int64_t epoch, std::int64_t sample, std::uint64_t stream)
    : key_(philox_key(seed, scattered(stream + 1), static_cast<std::uint64_t>(epoch) >> 32U)),
      sample_(static_cast<std::uint64_t>(sample)),
      epoch_(static_cast<std::uint32_t>(epoch)) {}

std::uint32_t Random::next() {
  if (left_ == 0) {
    const PhiloxBlock block =
        philox({{static_cast<std::uint32_t>(sample_), static_cast<std::uint32_t>(sample_ >> 32U),
                 epoch_, block_++}},
               key_);
    std::copy_n(block.word, 4, words_);
    left_ = 4;
  }
  return words_[--left_];
}

double Random::uniform() { return next() * 0x1p-32; }

std::uint32_t Random::below(std::uint32_t bound) {
  // Draws from the incomplete last stretch are refused.
  const std::uint32_t refused = -bound % bound;
  std::uint32_t draw = next();
  while (draw < refused) draw = next();
  return draw % bound;
}

}  // namespace gradgraph::data

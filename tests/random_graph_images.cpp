#include <algorithm>
#include <cmath>
#include <iterator>

#include "random_graph_drawing.h"

namespace gradgraph::tests {
namespace {

using Ints = std::vector<std::int64_t>;

/// From here on, what an op makes should not be larger than what it is made of.
constexpr std::int64_t kManyElements = 1500;

}  // namespace

Shape RandomImages::shape(std::int64_t batch, std::int64_t height, std::int64_t width,
                          std::int64_t channels, Layout layout) const {
  return layout == Layout::nhwc ? Shape{batch, height, width, channels}
                                : Shape{batch, channels, height, width};
}

void RandomImages::add_input() {
  constexpr std::int64_t kExtents[] = {1, 2, 3, 4, 4, 5, 6, 6, 7, 8, 9};
  constexpr std::int64_t kChannels[] = {1, 2, 3, 3, 4, 8};
  const auto extent = [&] { return kExtents[drawing_.pick(std::size(kExtents))]; };
  const Layout layout = drawing_.chance(3) ? Layout::nchw : Layout::nhwc;
  const std::int64_t batch = 1 + static_cast<std::int64_t>(drawing_.pick(3)), height = extent(),
                     width = extent(), channels = kChannels[drawing_.pick(std::size(kChannels))];
  Tensor value = drawing_.noise(shape(batch, height, width, channels, layout), 2);
  if (drawing_.options.specials && drawing_.chance(2)) drawing_.add_specials(value);
  keep({drawing_.input(value), layout});
}

void RandomImages::keep(const Image& image) {
  images_.push_back(image);
  drawing_.floats.push_back(image.value);
}

void RandomImages::keep_some(const Image& image) {
  if (drawing_.chance(16)) keep(image);
}

RandomImages::Image RandomImages::any_image() {
  if (drawing_.chance(8)) {
    const Output other = drawing_.any_of(drawing_.floats);
    const std::int64_t count = other.shape().num_elements();
    if (other.rank() == 4 && count > 0 && count < kManyElements)
      return {other, drawing_.chance(2) ? Layout::nchw : Layout::nhwc};
  }
  // The later ones more often, so that graphs become deep.
  return drawing_.chance(2) ? images_.back() : drawing_.any_of(images_);
}

void RandomImages::grow() {
  switch (drawing_.pick(12)) {
    case 0: return keep(pooled(any_image()));
    case 1: return keep(activated(any_image()));
    case 2: return keep(normalized(any_image()));
    case 3:
    case 4: return keep(combined(any_image()));
    case 5: return keep(resized(any_image()));
    case 6: return keep(in_other_layout(any_image()));
    default: return layer();
  }
}

void RandomImages::layer() {
  Image image = any_image();
  image = drawing_.chance(8) ? transposed_convolution(image) : convolved(image);
  keep_some(image);
  // As networks have it, or anything.
  const bool is_plain = drawing_.chance(2);
  if (is_plain || !drawing_.chance(3)) {
    image = with_bias(image);
    keep_some(image);
  }
  if (is_plain || !drawing_.chance(3)) {
    image = !is_plain && drawing_.chance(2) ? activated(image)
                                            : Image{relu(image.value), image.layout};
    keep_some(image);
  }
  if (!drawing_.chance(3))
    image = !is_plain && drawing_.chance(2) ? pooled(image) : max_pooled(image);
  keep(image);
}

Output RandomImages::weight(const Shape& shape, double limit) {
  std::vector<Output> alike;
  std::ranges::copy_if(weights_, std::back_inserter(alike),
                       [&](const Output& other) { return other.shape() == shape; });
  if (!alike.empty() && drawing_.chance(3)) return drawing_.any_of(alike);
  Tensor value = drawing_.noise(shape, limit);
  if (drawing_.options.specials && drawing_.chance(3)) drawing_.add_specials(value);
  const Output made = drawing_.input(value);
  weights_.push_back(made);
  if (drawing_.chance(6)) drawing_.floats.push_back(made);
  if (drawing_.chance(10)) return made * 0.5;
  return drawing_.chance(20) ? -made : made;
}

Output RandomImages::channel_weight(const Image& image) {
  const Output vector = weight({image.channels()}, 1);
  return image.is_nhwc() ? vector : reshape(vector, {image.channels(), 1, 1});
}

Pair RandomImages::small_pair() {
  if (drawing_.chance(2)) return 1;
  const auto number = [&] { return 1 + static_cast<std::int64_t>(drawing_.pick(3)); };
  const std::int64_t first = number();
  return drawing_.chance(2) ? Pair(first) : Pair(first, number());
}

template <class Options>
void RandomImages::draw_padding(Options& options, const Image& image, Pair window,
                                Pair dilations) {
  options.layout = image.layout;
  options.padding = drawing_.any_of(
      std::vector<Padding>{Padding::valid, Padding::valid, Padding::same, Padding::explicit_});
  // No window may see padding alone.
  const auto some = [&](std::int64_t extent) {
    return static_cast<std::int64_t>(drawing_.pick(to_size(std::min<std::int64_t>(extent, 3))));
  };
  const bool is_explicit = options.padding == Padding::explicit_;
  if (is_explicit && !drawing_.chance(3))
    options.border = {some(window.height), some(window.height), some(window.width),
                      some(window.width)};
  const Border border = options.border;
  const auto span = [](std::int64_t extent, std::int64_t dilation) {
    return (extent - 1) * dilation + 1;
  };
  if (image.height() + border.top + border.bottom < span(window.height, dilations.height) ||
      image.width() + border.left + border.right < span(window.width, dilations.width))
    options.padding = Padding::same, options.border = {};
}

RandomImages::Image RandomImages::convolved(const Image& image) {
  constexpr std::int64_t kFilters[] = {1, 2, 3, 3, 4, 5, 8, 16, 17, 24};
  const std::vector<Pair> windows = {1, 3, 3, 3, 5, {2, 3}, {1, 3}, {3, 2}};
  const Pair window = drawing_.any_of(windows);
  Conv2dOptions options;
  options.strides = small_pair();
  if (drawing_.chance(8)) options.dilations = small_pair();
  draw_padding(options, image, window, options.dilations);
  const bool is_large = image.value.shape().num_elements() / image.channels() > 150;
  std::int64_t filters = kFilters[drawing_.pick(is_large ? 4 : std::size(kFilters))];
  if (drawing_.chance(6)) {
    const std::int64_t most = image.channels();
    options.groups = most % 2 == 0 && drawing_.chance(3) ? 2 : most;
    filters = options.groups * (drawing_.chance(3) ? 2 : 1);
  }
  const std::int64_t depth = image.channels() / options.groups;
  const double fan_in = static_cast<double>(window.height * window.width * depth);
  const Output filter =
      weight({window.height, window.width, depth, filters}, std::sqrt(3 / fan_in));
  return {conv2d(image.value, filter, options), image.layout};
}

RandomImages::Image RandomImages::transposed_convolution(const Image& image) {
  const std::vector<Pair> windows = {1, 2, 3, {2, 3}};
  const Pair window = drawing_.any_of(windows);
  Conv2dOptions options;
  options.layout = image.layout;
  options.strides = image.value.shape().num_elements() < kManyElements ? small_pair() : Pair(1);
  const std::int64_t filters = 1 + static_cast<std::int64_t>(drawing_.pick(4));
  const double fan_in = static_cast<double>(window.height * window.width * image.channels());
  const Output filter =
      weight({window.height, window.width, filters, image.channels()}, std::sqrt(3 / fan_in));
  const std::int64_t height = (image.height() - 1) * options.strides.height + window.height;
  const std::int64_t width = (image.width() - 1) * options.strides.width + window.width;
  const Shape result = shape(image.batch(), height, width, filters, image.layout);
  return {conv2d_input_grad(result, filter, image.value, options), image.layout};
}

RandomImages::Image RandomImages::with_bias(const Image& image) {
  if (drawing_.chance(8)) return {image.value + channel_weight(image), image.layout};
  const Layout other = image.is_nhwc() ? Layout::nchw : Layout::nhwc;
  const Layout layout = drawing_.chance(12) ? other : image.layout;
  const std::int64_t count = image.value.shape()[layout == Layout::nhwc ? 3 : 1];
  return {bias_add(image.value, weight({count}, 1), layout), image.layout};
}

RandomImages::Image RandomImages::activated(const Image& image) {
  const Output x = image.value;
  const auto activation = [&] {
    switch (drawing_.pick(9)) {
      case 0: return relu(x);
      case 1: return gradgraph::tanh(x);
      case 2: return leaky_relu(x, 0.2);
      case 3: return sigmoid(x);
      case 4: return elu(x);
      case 5: return gelu(x);
      case 6: return clip(x, -1.3, 1.7);
      case 7: return dropout(x, 0.5, constant(drawing_.graph, Tensor(false)));
      default: return x * sigmoid(x);
    }
  };
  return {activation(), image.layout};
}

RandomImages::Image RandomImages::max_pooled(const Image& image) {
  const Pair window(std::min<std::int64_t>(2 + drawing_.chance(4), image.height()),
                    std::min<std::int64_t>(2 + drawing_.chance(4), image.width()));
  Pool2dOptions options{.window = window, .strides = window, .layout = image.layout};
  if (drawing_.chance(3)) options.padding = Padding::same;
  return {max_pool2d(image.value, options), image.layout};
}

RandomImages::Image RandomImages::pooled(const Image& image) {
  const auto extent = [&] { return 1 + static_cast<std::int64_t>(drawing_.pick(3)); };
  Pool2dOptions options;
  options.window = Pair(extent(), extent());
  options.strides = drawing_.chance(2) ? options.window : small_pair();
  draw_padding(options, image, options.window, 1);
  return {
      drawing_.chance(2) ? max_pool2d(image.value, options) : avg_pool2d(image.value, options),
      image.layout};
}

RandomImages::Image RandomImages::normalized(const Image& image) {
  const Output x = image.value;
  if (drawing_.chance(6)) return {standardize(x, 0.1), image.layout};
  if (drawing_.chance(3))
    return {x * channel_weight(image) + channel_weight(image), image.layout};
  const Axes axes = image.is_nhwc() ? Axes{0, 1, 2} : Axes{0, 2, 3};
  const Output centred = x - mean(x, axes, true);
  const Output variance =
      drawing_.chance(2) ? gradgraph::var(x, axes, true) : mean(square(centred), axes, true);
  const Output normal = centred * rsqrt(variance + 0.1);
  return {normal * channel_weight(image) + channel_weight(image), image.layout};
}

RandomImages::Image RandomImages::combined(const Image& image) {
  const Output a = image.value;
  std::vector<Output> alike;
  for (const Image& other : images_)
    if (other.layout == image.layout && other.value.shape() == a.shape() && other.value != a)
      alike.push_back(other.value);
  const Output b = alike.empty() ? activated(image).value : drawing_.any_of(alike);
  const bool is_large = a.shape().num_elements() > kManyElements;
  const auto both = [&] {
    switch (drawing_.pick(is_large ? 5 : 7)) {
      case 0:
      case 1: return a + b;
      case 2: return a * b;
      case 3: return maximum(a, b);
      case 4: return a - 0.5 * b;
      default: return concat({a, b}, image.channel_axis());
    }
  };
  return {both(), image.layout};
}

RandomImages::Image RandomImages::resized(const Image& image) {
  const Output x = image.value;
  const int row_axis = image.is_nhwc() ? 1 : 2;
  const bool is_large = x.shape().num_elements() > kManyElements;
  const auto result = [&]() -> Output {
    switch (drawing_.pick(is_large ? 3 : 5)) {
      case 0: return flip(x, row_axis);
      case 1: {
        Ints begin(4, 0), sizes(x.shape().begin(), x.shape().end());
        begin[to_size(row_axis)] = image.height() / 2;
        sizes[to_size(row_axis)] -= image.height() / 2;
        return slice(x, begin, sizes);
      }
      case 2: {
        std::vector<Slice> slices(4);
        slices[to_size(row_axis)].step = 2;
        slices[to_size(row_axis + 1)].step = -1;
        return strided_slice(x, slices);
      }
      case 3: {
        Ints before(4, 0), after(4, 0);
        before[to_size(row_axis)] = after[to_size(row_axis + 1)] = 1;
        return pad(x, before, after);
      }
      default: return nn::upsample2d(x, {.factor = Pair(1, 2), .layout = image.layout});
    }
  };
  return {result(), image.layout};
}

RandomImages::Image RandomImages::in_other_layout(const Image& image) {
  if (image.is_nhwc()) return {transpose(image.value, {0, 3, 1, 2}), Layout::nchw};
  return {transpose(image.value, {0, 2, 3, 1}), Layout::nhwc};
}

Output RandomImages::logits() {
  const Image image = any_image();
  const Axes pixels = image.is_nhwc() ? Axes{1, 2} : Axes{2, 3};
  const Output rows = drawing_.chance(3) ? mean(image.value, pixels) : flatten(image.value);
  const std::int64_t features = rows.shape()[1];
  const std::int64_t classes = 2 + static_cast<std::int64_t>(drawing_.pick(4));
  const Output product =
      matmul(rows, weight({features, classes}, std::sqrt(3 / static_cast<double>(features))));
  if (drawing_.chance(3)) return product;
  const Output bias = weight({classes}, 1);
  return drawing_.chance(2) ? bias_add(product, bias) : product + bias;
}

}  // namespace gradgraph::tests

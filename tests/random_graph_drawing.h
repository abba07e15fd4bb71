#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "random_graph.h"

/// What the parts of a random graph share.
namespace gradgraph::tests {

/// The graph while it is drawn, and the numbers that decide about it.
class Drawing {
  std::mt19937 random_;  // before what it decides about

 public:
  Drawing(RandomGraph& result, unsigned seed, RandomGraphOptions chosen);

  std::size_t pick(std::size_t count) { return static_cast<std::size_t>(random_()) % count; }
  bool chance(std::size_t one_in) { return pick(one_in) == 0; }
  template <class T>
  const T& any_of(const std::vector<T>& list) {
    return list[pick(list.size())];
  }

  /// Uniform in [-limit, limit), float64.
  Tensor noise(const Shape& shape, double limit);
  /// One of those that arithmetic treats in a way of its own.
  double special_number(DType of);
  void add_specials(Tensor& value);

  /// A value as a constant, a variable or a feed. Those that are not constant and of floats are
  /// what gradients are taken by.
  Output input(const Tensor& value);

  /// One of the ops that move elements, of any dtype.
  Output moved(Output a);

  Graph& graph;
  Feeds& feeds;
  const RandomGraphOptions options;
  const DType dtype;                   ///< of floats
  std::vector<Output> floats;          ///< what there is to draw from
  std::vector<Output> differentiable;  ///< inputs
  std::vector<Output> variables;
};

inline std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

/// Integers and booleans.
class RandomIntegers {
 public:
  explicit RandomIntegers(Drawing& drawing) : drawing_(drawing) {}

  void add_input();
  /// Adds a value to these, or one that was computed from them to the floats.
  void grow();
  Output any_value();
  const std::vector<Output>& variables() const { return variables_; }

 private:
  Output any_number();
  Output any_boolean();
  Output any_float() { return drawing_.any_of(drawing_.floats); }
  std::int64_t number();
  Output like(Output a);
  Output divisor(Output a);
  Output indices(std::int64_t size);
  Output places(const Shape& shape, std::int64_t size);
  std::int64_t any_axis(Output a);

  Output unary(Output a);
  Output binary(Output a, Output b);
  Output with_number(Output a);
  Output compared();
  Output logical(Output a);
  Output of_floats();
  Output along_axis(Output a);
  Output reduced(Output a);
  Output special(Output a);
  Output branch(Output a);
  Output to_float();

  Drawing& drawing_;
  std::vector<Output> values_, variables_;
};

/// Images [N,H,W,C] and [N,C,H,W].
class RandomImages {
 public:
  explicit RandomImages(Drawing& drawing) : drawing_(drawing) {}

  void add_input();
  /// Adds an image, also to the floats.
  void grow();
  /// A matrix of a row for each of some images.
  Output logits();

 private:
  struct Image {
    Output value;
    Layout layout = Layout::nhwc;

    std::int64_t batch() const { return value.shape()[0]; }
    std::int64_t height() const { return value.shape()[is_nhwc() ? 1 : 2]; }
    std::int64_t width() const { return value.shape()[is_nhwc() ? 2 : 3]; }
    std::int64_t channels() const { return value.shape()[channel_axis()]; }
    int channel_axis() const { return is_nhwc() ? 3 : 1; }
    bool is_nhwc() const { return layout == Layout::nhwc; }
  };

  Image any_image();
  Shape shape(std::int64_t batch, std::int64_t height, std::int64_t width, std::int64_t channels,
              Layout layout) const;
  void keep(const Image& image);
  /// Keeps what a layer has in between now and then, so that it has a second reader.
  void keep_some(const Image& image);

  Output weight(const Shape& shape, double limit);
  Output channel_weight(const Image& image);
  Pair small_pair();
  template <class Options>
  void draw_padding(Options& options, const Image& image, Pair window, Pair dilations);

  void layer();
  Image convolved(const Image& image);
  Image transposed_convolution(const Image& image);
  Image with_bias(const Image& image);
  Image activated(const Image& image);
  Image max_pooled(const Image& image);
  Image pooled(const Image& image);
  Image normalized(const Image& image);
  Image combined(const Image& image);
  Image resized(const Image& image);
  Image in_other_layout(const Image& image);

  Drawing& drawing_;
  std::vector<Image> images_;
  std::vector<Output> weights_;
};

}  // namespace gradgraph::tests

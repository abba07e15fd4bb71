#include <algorithm>

#include "device/cpu/kernels.h"
#include "device/cpu/reference/expressions.h"
#include "device/cpu/reference/kernels.h"
#include "device/shared/elements.h"
#include "ops/nn/window.h"

/// Convolution and pooling, tap by tap: what a tap of all windows sees of the images is a strided
/// part of them.
namespace gradgraph {
namespace {

using std::int64_t;

/// The outputs [begin, end) along one axis at which a tap meets the image, and where it does so
/// first.
struct Meeting {
  int64_t begin, end, input;
  int64_t count() const { return end - begin; }
};
Meeting meeting(const WindowAxis& axis, int64_t tap) {
  const int64_t distance = axis.before - tap * axis.dilation;
  const auto outputs_before = [&](int64_t pixel) {
    return pixel <= 0 ? int64_t{0} : std::min((pixel - 1) / axis.stride + 1, axis.output);
  };
  const int64_t begin = outputs_before(distance);
  const int64_t end = std::max(begin, outputs_before(axis.input + distance));
  return {begin, end, begin == end ? 0 : axis.at(begin, tap)};
}

/// How images lie in memory: [images, height, width, channels], and the steps between them.
struct Images {
  Extents<4> extents, steps;
};
Images images_of(const Shape& shape, Layout layout) {
  const ImageAxes axes = axes_of(layout);
  const int order[] = {0, axes.height, axes.width, axes.channels};
  Images images;
  for (std::size_t i = 0; i < 4; ++i) {
    images.extents[i] = shape[order[i]];
    images.steps[i] = extent(shape, order[i] + 1, 4);
  }
  return images;
}

/// A strided part of some images.
template <class T>
using View = decltype(strided(static_cast<T*>(nullptr), Extents<4>{}, Extents<4>{}));

struct Tap {
  int64_t row, column;              ///< in the window
  Extents<4> extents;               ///< of the outputs that see the images here
  int64_t first_row, first_column;  ///< of those outputs
  int64_t input, output;            ///< where the first of both is
  Extents<4> input_steps, output_steps;
};

struct Sliding {
  Windows windows;
  Images input, output;

  /// Calls body(tap) for each tap that meets the images.
  template <class Body>
  void for_taps(const Body& body) const {
    const auto range = [](const WindowAxis& axis) {
      return axis.output == 0
                 ? WindowAxis::Taps{0, 0}
                 : WindowAxis::Taps{axis.taps(axis.output - 1).begin, axis.taps(0).end};
    };
    const auto rows = range(windows.height), columns = range(windows.width);
    for (int64_t i = rows.begin; i < rows.end; ++i)
      for (int64_t j = columns.begin; j < columns.end; ++j) {
        const Meeting y = meeting(windows.height, i), x = meeting(windows.width, j);
        if (y.count() * x.count() * output.extents[0] * output.extents[3] == 0) continue;
        const auto skip = [](int64_t count, int64_t stride) { return count == 1 ? 0 : stride; };
        body(Tap{i,
                 j,
                 {output.extents[0], y.count(), x.count(), output.extents[3]},
                 y.begin,
                 x.begin,
                 y.input * input.steps[1] + x.input * input.steps[2],
                 y.begin * output.steps[1] + x.begin * output.steps[2],
                 {input.steps[0], input.steps[1] * skip(y.count(), windows.height.stride),
                  input.steps[2] * skip(x.count(), windows.width.stride), input.steps[3]},
                 output.steps});
      }
  }
  template <class T>
  auto input_at(T* images, const Tap& tap) const {
    return strided(images + tap.input, tap.extents, tap.input_steps);
  }
  template <class T>
  auto output_at(T* images, const Tap& tap) const {
    return strided(images + tap.output, tap.extents, tap.output_steps);
  }
  int64_t elements(const Images& images) const {
    return images.extents[0] * images.extents[1] * images.extents[2] * images.extents[3];
  }
};

// --- Pooling -----------------------------------------------------------------------------------

Sliding pool_of(const KernelSite& site, const Shape& x) {
  const Attributes& attributes = site.node().attributes();
  const Layout layout = layout_attribute(attributes);
  const Windows windows = windows_of(attributes, x, pair_attribute(attributes, "window"), 1);
  return {windows, images_of(x, layout),
          images_of(image_shape(layout, x[0], windows, x[axes_of(layout).channels]), layout)};
}

/// Work space for the largest element of each window so far, and the number of the tap where it
/// was: -1 before there is one. Ties go to the first, NaN wins.
template <class T>
struct Maxima {
  T* value;
  std::int32_t* tap;

  Maxima(void* memory, int64_t count)
      : value(static_cast<T*>(memory)), tap(reinterpret_cast<std::int32_t*>(value + count)) {}
  static std::size_t bytes(int64_t count) {
    return static_cast<std::size_t>(count) * (sizeof(T) + sizeof(std::int32_t));
  }
};

/// target = `chosen` where a window's maximum is at tap `number`, or that more.
template <class T>
void choose(const Sliding& pool, const Tap& tap, std::int32_t number, const Maxima<T>& maxima,
            const View<const T>& chosen, View<T>& target, bool adds = false) {
  const auto choice = [number, adds](std::int32_t at, T value, T otherwise) {
    return at != number ? otherwise : adds ? otherwise + value : value;
  };
  xt::noalias(target) = xt::vectorize(choice)(pool.output_at(maxima.tap, tap), chosen, target);
}

/// Calls body(tap, number) for the taps that meet the images: 0, 1, ...
template <class Body>
void for_numbered_taps(const Sliding& pool, const Body& body) {
  std::int32_t number = 0;
  pool.for_taps([&](const Tap& tap) { body(tap, number++); });
}

template <class T>
Maxima<T> find_maxima(const Sliding& pool, const KernelArgs& args) {
  const int64_t count = pool.elements(pool.output);
  const Maxima<T> maxima(args.workspace, count);
  std::fill_n(maxima.tap, count, -1);
  for_numbered_taps(pool, [&](const Tap& tap, std::int32_t number) {
    const View<const T> x = pool.input_at(args.input<T>(0), tap);
    View<T> best = pool.output_at(maxima.value, tap);
    auto at = pool.output_at(maxima.tap, tap);
    const auto place = [number](T value, T largest, std::int32_t before) {
      return before < 0 || (!(value <= largest) && largest == largest) ? number : before;
    };
    xt::noalias(at) = xt::vectorize(place)(x, best, at);
    choose(pool, tap, number, maxima, x, best);
  });
  return maxima;
}

template <class T>
Kernel pool_kernel(const Sliding& pool, std::function<void(const KernelArgs&)> run) {
  return {std::move(run), Maxima<T>::bytes(pool.elements(pool.output))};
}

template <class T>
Kernel make_max_pool(const KernelSite& site) {
  const Sliding pool = pool_of(site, site.input_shape(0));
  return pool_kernel<T>(pool, [pool](const KernelArgs& args) {
    const Maxima<T> maxima = find_maxima<T>(pool, args);
    std::copy_n(maxima.value, pool.elements(pool.output), args.output<T>());
  });
}

template <class T>
Kernel make_max_pool_grad(const KernelSite& site) {
  const Sliding pool = pool_of(site, site.input_shape(0));
  return pool_kernel<T>(pool, [pool](const KernelArgs& args) {
    const Maxima<T> maxima = find_maxima<T>(pool, args);
    std::fill_n(args.output<T>(), pool.elements(pool.input), T{0});
    for_numbered_taps(pool, [&](const Tap& tap, std::int32_t number) {
      View<T> x_grad = pool.input_at(args.output<T>(), tap);
      choose<T>(pool, tap, number, maxima, pool.output_at(args.input<T>(1), tap), x_grad, true);
    });
  });
}

template <class T>
Kernel make_max_pool_pick(const KernelSite& site) {
  const Sliding pool = pool_of(site, site.input_shape(0));
  return pool_kernel<T>(pool, [pool](const KernelArgs& args) {
    const Maxima<T> maxima = find_maxima<T>(pool, args);
    for_numbered_taps(pool, [&](const Tap& tap, std::int32_t number) {
      View<T> y = pool.output_at(args.output<T>(), tap);
      choose<T>(pool, tap, number, maxima, pool.input_at(args.input<T>(1), tap), y);
    });
  });
}

/// How many pixels a window at each position of one axis sees.
template <class T>
std::vector<T> pixels_seen(const WindowAxis& axis) {
  std::vector<T> counts;
  for (int64_t at = 0; at < axis.output; ++at)
    counts.push_back(static_cast<T>(axis.taps(at).end - axis.taps(at).begin));
  return counts;
}

/// The pixels of each window, of which an average pool and its gradient take shares.
template <class T>
struct Counts {
  std::vector<T> rows, columns;

  explicit Counts(const Windows& windows)
      : rows(pixels_seen<T>(windows.height)), columns(pixels_seen<T>(windows.width)) {}

  void add_shares(const Tap& tap, const View<const T>& values, View<T> sum) const {
    const auto row = strided(rows.data() + tap.first_row, tap.extents, Extents<4>{0, 1, 0, 0});
    const auto column =
        strided(columns.data() + tap.first_column, tap.extents, Extents<4>{0, 0, 1, 0});
    xt::noalias(sum) = sum + values / (row * column);
  }
};

template <class T>
Kernel make_avg_pool(const KernelSite& site) {
  const Sliding pool = pool_of(site, site.input_shape(0));
  return {[pool, counts = Counts<T>(pool.windows)](const KernelArgs& args) {
    std::fill_n(args.output<T>(), pool.elements(pool.output), T{0});
    pool.for_taps([&](const Tap& tap) {
      counts.add_shares(tap, pool.input_at(args.input<T>(0), tap),
                        pool.output_at(args.output<T>(), tap));
    });
  }};
}

template <class T>
Kernel make_avg_pool_grad(const KernelSite& site) {
  const Sliding pool = pool_of(site, site.output_shape());
  return {[pool, counts = Counts<T>(pool.windows)](const KernelArgs& args) {
    std::fill_n(args.output<T>(), pool.elements(pool.input), T{0});
    pool.for_taps([&](const Tap& tap) {
      counts.add_shares(tap, pool.output_at(args.input<T>(1), tap),
                        pool.input_at(args.output<T>(), tap));
    });
  }};
}

// --- Convolution -------------------------------------------------------------------------------

/// A factor of a sum of products: where it begins, and its steps along the four axes of the
/// result and the three that are summed over.
template <class T>
struct Factor {
  const T* data;
  Extents<7> steps;
};

/// y += the sum of a * b over the last three of `extents`.
template <class T>
void add_products(T* data, const Extents<7>& extents, const Extents<4>& steps, Factor<T> a,
                  Factor<T> b) {
  constexpr std::array<std::size_t, 3> kSummed = {4, 5, 6};
  auto y = strided<T, 4>(data, {extents[0], extents[1], extents[2], extents[3]}, steps);
  xt::noalias(y) =
      y + sum_in_double<T>(strided(a.data, extents, a.steps) * strided(b.data, extents, b.steps),
                           kSummed);
}

struct Convolution {
  Sliding sliding;
  int64_t groups, channels, filters, all_filters;  ///< channels and filters of one group

  Convolution(const KernelSite& site, const Shape& x, const Shape& filter)
      : groups(site.attribute<int64_t>("groups")), all_filters(filter[3]) {
    const Attributes& attributes = site.node().attributes();
    const Layout layout = layout_attribute(attributes);
    channels = x[axes_of(layout).channels] / groups;
    filters = all_filters / groups;
    sliding.windows = windows_of(attributes, x, {filter[0], filter[1]},
                                 pair_attribute(attributes, "dilations"));
    sliding.input = images_of(x, layout);
    sliding.output = images_of(image_shape(layout, x[0], sliding.windows, all_filters), layout);
  }

  /// What a tap of group `group` meets: its pixels, its part of the filter [channels, filters],
  /// and its results.
  struct Part {
    int64_t x, filter, y;
    Extents<4> x_steps, y_steps;
    int64_t images, rows, columns;
  };
  template <class Body>
  void for_parts(const Body& body) const {
    if (channels * filters == 0) return;
    sliding.for_taps([&](const Tap& tap) {
      for (int64_t group = 0; group < groups; ++group)
        body(Part{tap.input + group * channels * tap.input_steps[3],
                  (tap.row * sliding.windows.width.window + tap.column) * channels * all_filters +
                      group * filters,
                  tap.output + group * filters * tap.output_steps[3], tap.input_steps,
                  tap.output_steps, tap.extents[0], tap.extents[1], tap.extents[2]});
    });
  }
};

template <class T>
Kernel make_conv2d(const KernelSite& site) {
  const Convolution conv(site, site.input_shape(0), site.input_shape(1));
  return {[conv, count = site.output_shape().num_elements()](const KernelArgs& args) {
    std::fill_n(args.output<T>(), count, T{0});
    conv.for_parts([&](const Convolution::Part& p) {
      const auto& x = p.x_steps;
      add_products<T>(args.output<T>() + p.y,
                      {p.images, p.rows, p.columns, conv.filters, conv.channels, 1, 1}, p.y_steps,
                      {args.input<T>(0) + p.x, {x[0], x[1], x[2], 0, x[3], 0, 0}},
                      {args.input<T>(1) + p.filter, {0, 0, 0, 1, conv.all_filters, 0, 0}});
    });
  }};
}

template <class T>
Kernel make_input_grad(const KernelSite& site) {
  const Convolution conv(site, site.output_shape(), site.input_shape(1));
  return {[conv, count = site.output_shape().num_elements()](const KernelArgs& args) {
    std::fill_n(args.output<T>(), count, T{0});
    conv.for_parts([&](const Convolution::Part& p) {
      const auto& y = p.y_steps;
      add_products<T>(args.output<T>() + p.x,
                      {p.images, p.rows, p.columns, conv.channels, conv.filters, 1, 1}, p.x_steps,
                      {args.input<T>(2) + p.y, {y[0], y[1], y[2], 0, y[3], 0, 0}},
                      {args.input<T>(1) + p.filter, {0, 0, 0, conv.all_filters, 1, 0, 0}});
    });
  }};
}

template <class T>
Kernel make_filter_grad(const KernelSite& site) {
  const Convolution conv(site, site.input_shape(0), site.output_shape());
  return {[conv, count = site.output_shape().num_elements()](const KernelArgs& args) {
    std::fill_n(args.output<T>(), count, T{0});
    conv.for_parts([&](const Convolution::Part& p) {
      const auto &x = p.x_steps, &y = p.y_steps;
      add_products<T>(args.output<T>() + p.filter,
                      {1, 1, conv.channels, conv.filters, p.images, p.rows, p.columns},
                      {0, 0, conv.all_filters, 1},
                      {args.input<T>(0) + p.x, {0, 0, x[3], 0, x[0], x[1], x[2]}},
                      {args.input<T>(2) + p.y, {0, 0, 0, y[3], y[0], y[1], y[2]}});
    });
  }};
}

template <class T>
void register_windows_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add("max_pool2d", kCpu, dtype, make_max_pool<T>);
  registry.add("max_pool2d_grad", kCpu, dtype, make_max_pool_grad<T>);
  registry.add("max_pool2d_pick", kCpu, dtype, make_max_pool_pick<T>);
  registry.add("avg_pool2d", kCpu, dtype, make_avg_pool<T>);
  registry.add("avg_pool2d_grad", kCpu, dtype, make_avg_pool_grad<T>);
  registry.add("conv2d", kCpu, dtype, make_conv2d<T>);
  registry.add("conv2d_input_grad", kCpu, dtype, make_input_grad<T>);
  registry.add("conv2d_filter_grad", kCpu, dtype, make_filter_grad<T>);
}

}  // namespace

void register_reference_windows(KernelRegistry& registry) {
  register_windows_for<float>(registry);
  register_windows_for<double>(registry);
}

}  // namespace gradgraph

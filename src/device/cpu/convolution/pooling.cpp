#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "ops/nn/window.h"

namespace gradgraph {
namespace {

/// Images as [images, height, width, channels]. A channel of an NCHW image is an image of its
/// own.
struct Pool {
  Windows windows;
  std::int64_t images, channels;
  int threads;
  std::int64_t input_size = windows.height.input * windows.width.input * channels;
  std::int64_t output_size = windows.height.output * windows.width.output * channels;
  /// Enough images for a thread each.
  std::int64_t parts = std::clamp<std::int64_t>(images / grain_of(input_size), 1, threads);
};

Pool pool_of(const KernelSite& site, const Shape& x) {
  const Attributes& attributes = site.node().attributes();
  const Windows windows = windows_of(attributes, x, pair_attribute(attributes, "window"), 1);
  const bool nhwc = layout_attribute(attributes) == Layout::nhwc;
  return {windows, nhwc ? x[0] : x[0] * x[1], nhwc ? x[3] : 1, site.threads()};
}

/// Calls visit(output, count, pixels) for every window of an image: `output` is the index of its
/// result's first channel, `count` the number of its pixels in the image, and pixels(body) calls
/// body(tap, input) for each of them, tap = 0, 1, ..., with the index of its first channel.
template <class Visit>
void for_windows(const Windows& windows, std::int64_t channels, const Visit& visit) {
  const WindowAxis &height = windows.height, &width = windows.width;
  std::int64_t output = 0;
  for (std::int64_t y = 0; y < height.output; ++y) {
    const auto rows = height.taps(y);
    for (std::int64_t x = 0; x < width.output; ++x, output += channels) {
      const auto columns = width.taps(x);
      const auto pixels = [&](const auto& body) {
        std::int64_t tap = 0;
        for (std::int64_t i = rows.begin; i < rows.end; ++i) {
          std::int64_t input =
              (height.at(y, i) * width.input + width.at(x, columns.begin)) * channels;
          for (std::int64_t j = columns.begin; j < columns.end; ++j, ++tap, input += channels)
            body(tap, input);
        }
      };
      visit(output, (rows.end - rows.begin) * (columns.end - columns.begin), pixels);
    }
  }
}

/// Whether `value` takes the place of the largest so far: ties go to the first, NaN wins. Without
/// a branch, so that loops over it vectorise.
template <class T>
bool beats(T value, T best) {
  return static_cast<bool>(static_cast<int>(!(value <= best)) & static_cast<int>(best == best));
}

/// An integer as wide as T, so that loops over both vectorise.
template <class T>
using Place = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

/// Room for the maxima of one window's channels and their taps.
template <class T>
struct Maxima {
  T* value;
  Place<T>* tap;

  Maxima(void* memory, std::int64_t channels)
      : value(static_cast<T*>(memory)), tap(reinterpret_cast<Place<T>*>(value + channels)) {}
  static std::size_t bytes(std::int64_t channels) {
    return static_cast<std::size_t>(channels) * (sizeof(T) + sizeof(Place<T>));
  }
};

// Loops over the channels of one pixel: `n` of them, or a constant 1.

template <class T, class Count>
void keep_largest(const T* __restrict x, T* __restrict best, Count n) {
  for (std::int64_t c = 0; c < n; ++c) best[c] = beats(x[c], best[c]) ? x[c] : best[c];
}

template <class T, class Count>
void keep_largest(const T* __restrict x, Place<T> tap, T* __restrict best,
                  Place<T>* __restrict best_tap, Count n) {
  for (std::int64_t c = 0; c < n; ++c) {
    const T value = x[c], before = best[c];
    const Place<T> before_tap = best_tap[c];
    const bool wins = beats(value, before);
    best[c] = wins ? value : before;
    best_tap[c] = wins ? tap : before_tap;
  }
}

/// Adds up `values` where the maximum is at `tap`.
template <class T, class Count>
void add_where(const Place<T>* __restrict best_tap, Place<T> tap, const T* __restrict values,
               T* __restrict sum, Count n) {
  for (std::int64_t c = 0; c < n; ++c) {
    const T value = values[c];
    sum[c] += best_tap[c] == tap ? value : T{0};
  }
}

template <class T, class Count>
void pick_where(const Place<T>* __restrict best_tap, Place<T> tap, const T* __restrict values,
                T* __restrict picked, Count n) {
  for (std::int64_t c = 0; c < n; ++c) {
    const T value = values[c], before = picked[c];
    picked[c] = best_tap[c] == tap ? value : before;
  }
}

template <class T, class Count>
void add_scaled(const T* __restrict x, T scale, T* __restrict sum, Count n) {
  for (std::int64_t c = 0; c < n; ++c) sum[c] += x[c] * scale;
}

/// The work on one image. `Channels` is std::int64_t, or a constant where there is one channel,
/// whose loop then disappears.
template <class T, class Channels>
struct ImagePool {
  const Windows& windows;
  Channels channels;

  void max(const T* x, T* y) const {
    for_windows(windows, channels, [&](std::int64_t output, std::int64_t, const auto& pixels) {
      pixels([&](std::int64_t tap, std::int64_t input) {
        if (tap == 0)
          std::copy_n(x + input, std::int64_t{channels}, y + output);
        else
          keep_largest(x + input, y + output, channels);
      });
    });
  }

  template <class Pixels>
  void locate(const T* x, const Pixels& pixels, Maxima<T> maxima) const {
    pixels([&](std::int64_t tap, std::int64_t input) {
      if (tap == 0) {
        std::copy_n(x + input, std::int64_t{channels}, maxima.value);
        std::fill_n(maxima.tap, std::int64_t{channels}, Place<T>{0});
      } else {
        keep_largest(x + input, static_cast<Place<T>>(tap), maxima.value, maxima.tap, channels);
      }
    });
  }

  void max_grad(const T* x, const T* grad, T* x_grad, Maxima<T> maxima) const {
    for_windows(windows, channels, [&](std::int64_t output, std::int64_t, const auto& pixels) {
      locate(x, pixels, maxima);
      pixels([&](std::int64_t tap, std::int64_t input) {
        add_where(maxima.tap, static_cast<Place<T>>(tap), grad + output, x_grad + input,
                  channels);
      });
    });
  }

  void max_pick(const T* x, const T* values, T* y, Maxima<T> maxima) const {
    for_windows(windows, channels, [&](std::int64_t output, std::int64_t, const auto& pixels) {
      locate(x, pixels, maxima);
      pixels([&](std::int64_t tap, std::int64_t input) {
        pick_where(maxima.tap, static_cast<Place<T>>(tap), values + input, y + output, channels);
      });
    });
  }

  void average(const T* x, T* y) const {
    for_windows(windows, channels,
                [&](std::int64_t output, std::int64_t count, const auto& pixels) {
                  const T share = T{1} / static_cast<T>(count);
                  std::fill_n(y + output, std::int64_t{channels}, T{0});
                  pixels([&](std::int64_t, std::int64_t input) {
                    add_scaled(x + input, share, y + output, channels);
                  });
                });
  }

  void average_grad(const T* grad, T* x_grad) const {
    for_windows(windows, channels,
                [&](std::int64_t output, std::int64_t count, const auto& pixels) {
                  const T share = T{1} / static_cast<T>(count);
                  pixels([&](std::int64_t, std::int64_t input) {
                    add_scaled(grad + output, share, x_grad + input, channels);
                  });
                });
  }
};

/// Calls body(image, image_pool, part) for every image.
template <class T, class Body>
void for_images(const Pool& pool, const Body& body) {
  parallel_parts(pool.images, pool.parts,
                 [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
                   const auto each = [&](auto channels) {
                     const ImagePool<T, decltype(channels)> image_pool{pool.windows, channels};
                     for (std::int64_t i = begin; i < end; ++i) body(i, image_pool, part);
                   };
                   if (pool.channels == 1)
                     each(std::integral_constant<std::int64_t, 1>());
                   else
                     each(pool.channels);
                 });
}

template <class T>
Maxima<T> maxima_of(const Pool& pool, const KernelArgs& args, std::int64_t part) {
  const std::size_t offset = static_cast<std::size_t>(part) * Maxima<T>::bytes(pool.channels);
  return {static_cast<std::byte*>(args.workspace) + offset, pool.channels};
}

template <class T>
Kernel make_max_pool(const KernelSite& site) {
  const Pool pool = pool_of(site, site.input_shape(0));
  return {[pool](const KernelArgs& args) {
    for_images<T>(pool, [&](std::int64_t i, const auto& image, std::int64_t) {
      image.max(args.input<T>(0) + i * pool.input_size, args.output<T>() + i * pool.output_size);
    });
  }};
}

template <class T>
Kernel make_max_pool_grad(const KernelSite& site) {
  const Pool pool = pool_of(site, site.input_shape(0));
  const auto run = [pool](const KernelArgs& args) {
    for_images<T>(pool, [&](std::int64_t i, const auto& image, std::int64_t part) {
      T* x_grad = args.output<T>() + i * pool.input_size;
      std::fill_n(x_grad, pool.input_size, T{0});
      image.max_grad(args.input<T>(0) + i * pool.input_size,
                     args.input<T>(1) + i * pool.output_size, x_grad,
                     maxima_of<T>(pool, args, part));
    });
  };
  return {run, static_cast<std::size_t>(pool.parts) * Maxima<T>::bytes(pool.channels)};
}

template <class T>
Kernel make_max_pool_pick(const KernelSite& site) {
  const Pool pool = pool_of(site, site.input_shape(0));
  const auto run = [pool](const KernelArgs& args) {
    for_images<T>(pool, [&](std::int64_t i, const auto& image, std::int64_t part) {
      image.max_pick(args.input<T>(0) + i * pool.input_size,
                     args.input<T>(1) + i * pool.input_size,
                     args.output<T>() + i * pool.output_size, maxima_of<T>(pool, args, part));
    });
  };
  return {run, static_cast<std::size_t>(pool.parts) * Maxima<T>::bytes(pool.channels)};
}

template <class T>
Kernel make_avg_pool(const KernelSite& site) {
  const Pool pool = pool_of(site, site.input_shape(0));
  return {[pool](const KernelArgs& args) {
    for_images<T>(pool, [&](std::int64_t i, const auto& image, std::int64_t) {
      image.average(args.input<T>(0) + i * pool.input_size,
                    args.output<T>() + i * pool.output_size);
    });
  }};
}

template <class T>
Kernel make_avg_pool_grad(const KernelSite& site) {
  const Pool pool = pool_of(site, site.output_shape());
  return {[pool](const KernelArgs& args) {
    for_images<T>(pool, [&](std::int64_t i, const auto& image, std::int64_t) {
      T* x_grad = args.output<T>() + i * pool.input_size;
      std::fill_n(x_grad, pool.input_size, T{0});
      image.average_grad(args.input<T>(1) + i * pool.output_size, x_grad);
    });
  }};
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add_faster("max_pool2d", kCpu, dtype, make_max_pool<T>);
  registry.add_faster("max_pool2d_grad", kCpu, dtype, make_max_pool_grad<T>);
  registry.add_faster("max_pool2d_pick", kCpu, dtype, make_max_pool_pick<T>);
  registry.add_faster("avg_pool2d", kCpu, dtype, make_avg_pool<T>);
  registry.add_faster("avg_pool2d_grad", kCpu, dtype, make_avg_pool_grad<T>);
}

}  // namespace

void register_pooling_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph

#include "device/cpu/convolution/depthwise/depthwise_lines.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "core/index.h"
#include "device/cpu/convolution/line_loops.h"
#include "device/parallel.h"

namespace gradgraph {
namespace {

/// The taps that a pixel of one image has along an axis, and where these lie in the other image:
/// both in even steps.
struct Taps {
  std::int64_t first = 0, count = 0, step = 1;
  std::int64_t source = 0, source_step = 0;
};

Taps taps_of_output(const WindowAxis& axis, std::int64_t pixel) {
  const auto [begin, end] = axis.taps(pixel);
  return {.first = begin,
          .count = end - begin,
          .source = axis.at(pixel, begin),
          .source_step = axis.dilation};
}
/// Those by which outputs read an input.
Taps taps_of_input(const WindowAxis& axis, std::int64_t pixel) {
  Taps taps;
  for (std::int64_t tap = 0; tap < axis.window; ++tap) {
    const std::int64_t start = pixel + axis.before - tap * axis.dilation;
    if (start < 0 || start % axis.stride != 0 || start / axis.stride >= axis.output) continue;
    const std::int64_t source = start / axis.stride;
    if (taps.count == 0) {
      taps.first = tap, taps.source = source;
    } else if (taps.count == 1) {
      taps.step = tap - taps.first, taps.source_step = source - taps.source;
    }
    ++taps.count;
  }
  return taps;
}

/// Pixels `step` apart with the same taps, which lie one `advance` further for each.
struct PixelRun {
  Taps taps;
  std::int64_t begin = 0, count = 0;
};

/// What is summed up for the lines of one image, `made`, out of another, `read`.
class DepthwiseLines {
 public:
  static DepthwiseLines of_outputs(const DepthwiseImages& images) {
    const WindowAxis &height = images.windows.height, &width = images.windows.width;
    DepthwiseLines lines(images, width.input, width.output, width.stride, 1);
    for (std::int64_t i = 0; i < height.output; ++i)
      lines.rows_.push_back(taps_of_output(height, i));
    for (std::int64_t i = 0; i < width.output; ++i) lines.add(i, taps_of_output(width, i));
    return lines;
  }
  static DepthwiseLines of_inputs(const DepthwiseImages& images) {
    const WindowAxis &height = images.windows.height, &width = images.windows.width;
    DepthwiseLines lines(images, width.output, width.input, 1, width.stride);
    for (std::int64_t i = 0; i < height.input; ++i)
      lines.rows_.push_back(taps_of_input(height, i));
    for (std::int64_t phase = 0; phase < std::min(width.stride, width.input); ++phase)
      for (std::int64_t i = phase; i < width.input; i += width.stride)
        lines.add(i, taps_of_input(width, i));
    return lines;
  }

  std::int64_t count() const { return static_cast<std::int64_t>(rows_.size()); }
  std::int64_t line_size() const { return made_width_ * channels_; }
  /// Multiplications of a line.
  std::int64_t cost() const { return line_size() * filter_height_ * filter_width_; }

  /// Calls body(run, read, filter, made) with where each run of a line begins in them.
  template <class Body>
  void visit(std::int64_t line, const Body& body) const {
    const Taps& rows = rows_[at(line)];
    for (const PixelRun& pixels : runs_) {
      const Taps& columns = pixels.taps;
      const DepthwiseRun run = {
          .pixels = pixels.count,
          .rows = rows.count,
          .columns = columns.count,
          .channels = channels_,
          .x_pixel = advance_ * channels_,
          .x_row = rows.source_step * read_width_ * channels_,
          .x_column = columns.source_step * channels_,
          .filter_row = rows.step * filter_width_ * channels_,
          .filter_column = columns.step * channels_,
          .y_pixel = step_ * channels_,
      };
      body(run, (rows.source * read_width_ + columns.source) * channels_,
           (rows.first * filter_width_ + columns.first) * channels_,
           (line * made_width_ + pixels.begin) * channels_);
    }
  }

  /// Computes a line.
  void run(std::int64_t line, const float* read, const float* filter, float* made) const {
    visit(line,
          [&](const DepthwiseRun& run, std::int64_t from, std::int64_t tap, std::int64_t to) {
            loops_.depthwise(run, read + from, filter + tap, made + to);
          });
  }

 private:
  DepthwiseLines(const DepthwiseImages& images, std::int64_t read_width, std::int64_t made_width,
                 std::int64_t advance, std::int64_t step)
      : channels_(images.channels),
        read_width_(read_width),
        made_width_(made_width),
        filter_height_(images.windows.height.window),
        filter_width_(images.windows.width.window),
        advance_(advance),
        step_(step) {}

  void add(std::int64_t pixel, const Taps& taps) {
    if (!runs_.empty()) {
      PixelRun& last = runs_.back();
      const bool follows = pixel == last.begin + last.count * step_ &&
                           taps.first == last.taps.first && taps.count == last.taps.count;
      if (follows &&
          (taps.count == 0 || taps.source == last.taps.source + last.count * advance_)) {
        ++last.count;
        return;
      }
    }
    runs_.push_back({.taps = taps, .begin = pixel, .count = 1});
  }

  std::int64_t channels_, read_width_, made_width_, filter_height_, filter_width_;
  std::int64_t advance_, step_;  ///< in the image that is read and in the one that is made
  std::vector<Taps> rows_;
  std::vector<PixelRun> runs_;
  const LineLoops& loops_ = best_line_loops();
};

/// All lines of all images.
Kernel make_lines(const DepthwiseImages& images, DepthwiseLines lines, std::size_t read,
                  std::int64_t read_size, std::int64_t made_size) {
  return {[=, lines = std::move(lines), batch = images.batch,
           threads = images.threads](const KernelArgs& args) {
    parallel_for(batch * lines.count(), grain_of(lines.cost()), threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t image = i / lines.count();
                     lines.run(i % lines.count(), args.input<float>(read) + image * read_size,
                               args.input<float>(1), args.output<float>() + image * made_size);
                   }
                 });
  }};
}

}  // namespace

Kernel make_depthwise_lines(const DepthwiseImages& images) {
  return make_lines(images, DepthwiseLines::of_outputs(images), 0, images.input_size(),
                    images.output_size());
}

Kernel make_depthwise_lines_input_grad(const DepthwiseImages& images) {
  return make_lines(images, DepthwiseLines::of_inputs(images), 2, images.output_size(),
                    images.input_size());
}

/// As for other convolutions: sums of fixed parts of the batch, added in their order.
Kernel make_depthwise_lines_filter_grad(const DepthwiseImages& images) {
  const std::int64_t parts = parts_for(images.batch), size = images.filter_size();
  const auto run = [images, parts, size,
                    lines = DepthwiseLines::of_outputs(images)](const KernelArgs& args) {
    const LineLoops& loops = best_line_loops();
    float* total = args.output<float>();
    float* partial = static_cast<float*>(args.workspace);
    parallel_tasks(parts, workers_for(parts, images.threads),
                   [&](std::int64_t part, std::int64_t) {
                     float* sum = part == 0 ? total : partial + (part - 1) * size;
                     std::fill_n(sum, size, 0.0F);
                     for (std::int64_t n = images.batch * part / parts;
                          n < images.batch * (part + 1) / parts; ++n) {
                       const float* x = args.input<float>(0) + n * images.input_size();
                       const float* grad = args.input<float>(2) + n * images.output_size();
                       for (std::int64_t line = 0; line < lines.count(); ++line)
                         lines.visit(line, [&](const DepthwiseRun& of, std::int64_t from,
                                               std::int64_t tap, std::int64_t to) {
                           loops.depthwise_filter_grad(of, x + from, grad + to, sum + tap);
                         });
                     }
                   });
    add_parts(partial, parts - 1, size, images.threads, total);
  };
  return {run, at((parts - 1) * size) * sizeof(float)};
}

}  // namespace gradgraph

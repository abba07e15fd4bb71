#include <algorithm>
#include <cstddef>
#include <utility>

#include "core/index.h"
#include "device/cpu/convolution/direct_convolution.h"
#include "device/cpu/kernels.h"
#include "device/cpu/matmul/gemm.h"
#include "device/parallel.h"

/// Convolution of float32 NHWC images with many channels and filters, as matrix products. What a
/// window sees is a row of a matrix of patches [output pixels, window height * window width *
/// channels], and the filter is a matrix [that, filters]:
///
///     output          = patches x filter
///     filter gradient = patches^T x output gradient
///     image           = sum, where patches overlap, of   output gradient x filter^T
///
/// A block of the patches is made at a time, which stays in the second-level cache. That costs
/// time in proportion to the patches, and pays where each is multiplied with many filters: lines
/// of the image in place (direct_convolution.cpp) would read a large filter for each few pixels.
namespace gradgraph {
namespace {

/// Of a block of patches, at most.
constexpr std::int64_t kBlockRows = 192, kBlockColumns = 256;
/// Every row of a block is whole vectors, at each level of the instruction set.
constexpr std::int64_t kUnit = 16;
constexpr std::int64_t kLeastRows = 128;
/// Elements of a filter from which it pays. Adding up what overlaps costs more.
constexpr std::int64_t kLargeFilter = 1 << 17, kLargeFilterOfInputGrad = 1 << 19;
/// Channels, and filters, from which an image's pixels are a matrix worth a product.
constexpr std::int64_t kLeastChannels = 8;
/// Elements of such a filter from which its gradient is one product: its few rows and columns are
/// what threads share, and each cell of them reads all of an image.
constexpr std::int64_t kLargePixelFilter = 1 << 14;
constexpr std::int64_t kLeastTaskRows = 32;
/// Tasks that threads share evenly. No sum depends on where one ends.
std::int64_t tasks_for(int threads) { return std::max<std::int64_t>(threads, 8); }

/// Of images, whose gradients are each made by one task.
constexpr std::int64_t kLeastGroups = 4;

struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};

/// Part `i` of `parts` of [0, count), which is a multiple of `unit` as all that begins one.
Range part_of(std::int64_t count, std::int64_t parts, std::int64_t i, std::int64_t unit = 1) {
  const std::int64_t units = count / unit;
  return {units * i / parts * unit, units * (i + 1) / parts * unit};
}
std::int64_t parts_of(std::int64_t count, std::int64_t most) { return (count + most - 1) / most; }

class Patches {
 public:
  static bool pay(const KernelSite& site, const Shape& image, const Shape& filter,
                  std::int64_t large_filter = kLargeFilter) {
    if (site.attribute<std::int64_t>("groups") != 1 ||
        !DirectConvolution::takes(site, image, filter))
      return false;
    const Patches patches(site, image, filter);
    if (patches.are_pixels()) return image[3] >= kLeastChannels && filter[3] >= kLeastChannels;
    return image[3] % kUnit == 0 && filter[3] % kUnit == 0 &&
           filter.num_elements() >= large_filter && patches.rows() >= kLeastRows;
  }

  Patches(const KernelSite& site, const Shape& image, const Shape& filter)
      : windows_(windows_of(site.node().attributes(), image, {filter[0], filter[1]},
                            pair_attribute(site.node().attributes(), "dilations"))),
        batch_(image[0]),
        channels_(image[3]),
        columns_(filter[0] * filter[1] * image[3]) {}

  std::int64_t batch() const { return batch_; }
  std::int64_t pixels() const { return windows_.height.output * windows_.width.output; }
  std::int64_t rows() const { return batch_ * pixels(); }
  std::int64_t columns() const { return columns_; }
  std::int64_t image_size() const {
    return windows_.height.input * windows_.width.input * channels_;
  }
  /// The matrix of patches is the images themselves.
  bool are_pixels() const { return windows_.are_pixels(); }

  void gather(const float* images, Range rows, Range columns, float* block) const {
    for (std::int64_t row = rows.begin; row < rows.end; ++row, block += columns.size())
      visit(row, columns, [&](std::int64_t place, std::int64_t column, std::int64_t count) {
        if (place < 0)
          std::fill_n(block + column, count, 0.f);
        else
          std::copy_n(images + place, count, block + column);
      });
  }
  void scatter_add(const float* block, Range rows, Range columns, float* images) const {
    for (std::int64_t row = rows.begin; row < rows.end; ++row, block += columns.size())
      visit(row, columns, [&](std::int64_t place, std::int64_t column, std::int64_t count) {
        if (place < 0) return;
        const float* from = block + column;
        float* to = images + place;
        for (std::int64_t c = 0; c < count; ++c) to[c] += from[c];
      });
  }

 private:
  /// Calls body(place, column, count) for the runs of channels that are columns of a row: where
  /// they lie in the images, below 0 for padding, and in the row.
  template <class Body>
  void visit(std::int64_t row, Range columns, const Body& body) const {
    const WindowAxis &height = windows_.height, &width = windows_.width;
    const std::int64_t y = row % pixels() / width.output, x = row % width.output;
    const std::int64_t image = row / pixels() * image_size();
    for (std::int64_t tap = columns.begin / channels_; tap * channels_ < columns.end; ++tap) {
      const std::int64_t begin = std::max(columns.begin, tap * channels_);
      const std::int64_t end = std::min(columns.end, (tap + 1) * channels_);
      const std::int64_t i = height.at(y, tap / width.window);
      const std::int64_t j = width.at(x, tap % width.window);
      const bool is_inside = i >= 0 && i < height.input && j >= 0 && j < width.input;
      body(is_inside ? image + (i * width.input + j) * channels_ + begin - tap * channels_ : -1,
           begin - columns.begin, end - begin);
    }
  }

  Windows windows_;
  std::int64_t batch_, channels_, columns_;
};

/// Work memory of a thread: a block of patches, then a product's.
class BlockMemory {
 public:
  BlockMemory(std::int64_t block_floats, const GemmShape& largest)
      : block_bytes_(bytes_of<float>(block_floats)),
        bytes_(block_bytes_ + Gemm(largest, 1).workspace_bytes()) {}

  std::size_t bytes() const { return bytes_; }
  float* block(void* memory, std::int64_t worker) const {
    return reinterpret_cast<float*>(static_cast<char*>(memory) + at(worker) * bytes_);
  }
  void* rest(void* memory, std::int64_t worker) const {
    return static_cast<char*>(memory) + at(worker) * bytes_ + block_bytes_;
  }

 private:
  std::size_t block_bytes_, bytes_;
};

Kernel make_product(const GemmShape& shape, int threads, std::size_t a, std::size_t b) {
  const Gemm gemm(shape, threads);
  return {[gemm, a, b](const KernelArgs& args) {
            gemm.run(args.input<float>(a), args.input<float>(b), args.output<float>(),
                     args.workspace);
          },
          gemm.workspace_bytes()};
}

Kernel make_conv2d(const KernelSite& site) {
  const Shape &image = site.input_shape(0), &filter = site.input_shape(1);
  if (!Patches::pay(site, image, filter)) return {};
  const Patches patches(site, image, filter);
  const std::int64_t filters = filter[3];
  if (patches.are_pixels())
    return make_product({patches.rows(), filters, image[3]}, site.threads(), 0, 1);
  const std::int64_t tasks =
      std::max(parts_of(patches.rows(), kBlockRows),
               std::min(tasks_for(site.threads()), patches.rows() / kLeastTaskRows));
  const std::int64_t blocks = parts_of(patches.columns(), kBlockColumns);
  const std::int64_t workers = workers_for(tasks, site.threads());
  const BlockMemory memory(kBlockRows * kBlockColumns, {kBlockRows, filters, kBlockColumns});
  const auto run = [=](const KernelArgs& args) {
    parallel_tasks(tasks, workers, [&](std::int64_t task, std::int64_t worker) {
      const Range rows = part_of(patches.rows(), tasks, task);
      float* block = memory.block(args.workspace, worker);
      for (std::int64_t i = 0; i < blocks; ++i) {
        const Range columns = part_of(patches.columns(), blocks, i, kUnit);
        patches.gather(args.input<float>(0), rows, columns, block);
        Gemm({rows.size(), filters, columns.size()}, 1)
            .run(block, args.input<float>(1) + columns.begin * filters,
                 args.output<float>() + rows.begin * filters, memory.rest(args.workspace, worker),
                 i > 0);
      }
    });
  };
  return {run, at(workers) * memory.bytes()};
}

/// Each task has some columns of all patches, and so some rows of the filter.
Kernel make_filter_grad(const KernelSite& site) {
  const Shape &image = site.input_shape(0), &filter = site.output_shape();
  if (!Patches::pay(site, image, filter)) return {};
  const Patches patches(site, image, filter);
  const std::int64_t filters = filter[3];
  if (patches.are_pixels() && filter.num_elements() < kLargePixelFilter) return {};
  if (patches.are_pixels())
    return make_product(
        {.rows = image[3], .columns = filters, .inner = patches.rows(), .transpose_a = true},
        site.threads(), 0, 2);
  const std::int64_t tasks =
      std::max(parts_of(patches.columns(), kBlockColumns),
               std::min(tasks_for(site.threads()), patches.columns() / kUnit));
  const std::int64_t blocks = parts_of(patches.rows(), kBlockColumns);
  const std::int64_t workers = workers_for(tasks, site.threads());
  const GemmShape largest = {
      .rows = kBlockColumns, .columns = filters, .inner = kBlockColumns, .transpose_a = true};
  const BlockMemory memory(kBlockColumns * kBlockColumns, largest);
  const auto run = [=](const KernelArgs& args) {
    parallel_tasks(tasks, workers, [&](std::int64_t task, std::int64_t worker) {
      const Range columns = part_of(patches.columns(), tasks, task, kUnit);
      float* block = memory.block(args.workspace, worker);
      for (std::int64_t i = 0; i < blocks; ++i) {
        const Range rows = part_of(patches.rows(), blocks, i);
        patches.gather(args.input<float>(0), rows, columns, block);
        GemmShape shape = largest;
        shape.rows = columns.size();
        shape.inner = rows.size();
        Gemm(shape, 1).run(block, args.input<float>(2) + rows.begin * filters,
                           args.output<float>() + columns.begin * filters,
                           memory.rest(args.workspace, worker), i > 0);
      }
    });
  };
  return {run, at(workers) * memory.bytes()};
}

/// The gradient of the patches is made block by block, each task's of images of its own.
struct InputGrad {
  InputGrad(const KernelSite& site, const Shape& image, const Shape& filter)
      : patches(site, image, filter),
        filters(filter[3]),
        blocks(parts_of(patches.columns(), kBlockColumns)),
        together(
            std::clamp<std::int64_t>(kBlockRows / patches.pixels(), 1,
                                     std::max<std::int64_t>(patches.batch() / kLeastGroups, 1))),
        tasks(parts_of(patches.batch(), together)),
        workers(workers_for(tasks, site.threads())),
        threads(site.threads()),
        memory(kBlockRows * kBlockColumns, {kBlockRows, kBlockColumns, filters}) {}

  std::size_t workspace() const {
    return bytes_of<float>(patches.columns() * filters) + at(workers) * memory.bytes();
  }
  Range columns_of(std::int64_t block) const {
    return part_of(patches.columns(), blocks, block, kUnit);
  }

  void operator()(const KernelArgs& args) const {
    auto* turned = static_cast<float*>(args.workspace);
    turn(args.input<float>(1), turned);
    void* rest = turned + patches.columns() * filters;
    parallel_tasks(tasks, workers, [&](std::int64_t task, std::int64_t worker) {
      const Range images = part_of(patches.batch(), tasks, task);
      const Range all = {images.begin * patches.pixels(), images.end * patches.pixels()};
      std::fill_n(args.output<float>() + images.begin * patches.image_size(),
                  images.size() * patches.image_size(), 0.f);
      const std::int64_t parts = parts_of(all.size(), kBlockRows);
      for (std::int64_t i = 0; i < parts; ++i) {
        const Range part = part_of(all.size(), parts, i);
        add_rows(args, {all.begin + part.begin, all.begin + part.end}, turned,
                 memory.block(rest, worker), memory.rest(rest, worker));
      }
    });
  }

  /// Each block of the filter's rows as columns.
  void turn(const float* filter, float* turned) const {
    parallel_for(blocks, 1, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) {
        const Range columns = columns_of(block);
        const float* from = filter + columns.begin * filters;
        float* to = turned + columns.begin * filters;
        // Squares of cache lines, of which a line is read and written once.
        for (std::int64_t f = 0; f < filters; f += kUnit)
          for (std::int64_t k = 0; k < columns.size(); k += kUnit)
            for (std::int64_t i = f; i < f + kUnit; ++i)
              for (std::int64_t j = k; j < k + kUnit; ++j)
                to[i * columns.size() + j] = from[j * filters + i];
      }
    });
  }

  void add_rows(const KernelArgs& args, Range rows, const float* turned, float* block,
                void* workspace) const {
    for (std::int64_t i = 0; i < blocks; ++i) {
      const Range columns = columns_of(i);
      Gemm({rows.size(), columns.size(), filters}, 1)
          .run(args.input<float>(2) + rows.begin * filters, turned + columns.begin * filters,
               block, workspace);
      patches.scatter_add(block, rows, columns, args.output<float>());
    }
  }

  Patches patches;
  std::int64_t filters, blocks;
  std::int64_t together, tasks, workers;  ///< `together`: images of a task
  int threads;
  BlockMemory memory;
};

Kernel make_input_grad(const KernelSite& site) {
  const Shape &image = site.output_shape(), &filter = site.input_shape(1);
  if (!Patches::pay(site, image, filter, kLargeFilterOfInputGrad)) return {};
  const InputGrad kernel(site, image, filter);
  if (kernel.patches.are_pixels())
    return make_product({.rows = kernel.patches.rows(),
                         .columns = image[3],
                         .inner = filter[3],
                         .transpose_b = true},
                        site.threads(), 2, 1);
  if (kernel.tasks < kLeastGroups) return {};
  return {kernel, kernel.workspace()};
}

}  // namespace

void register_patch_convolution_kernels(KernelRegistry& registry) {
  registry.add_faster("conv2d", kCpu, {float32}, make_conv2d);
  registry.add_faster("conv2d_input_grad", kCpu, {float32}, make_input_grad);
  registry.add_faster("conv2d_filter_grad", kCpu, {float32}, make_filter_grad);
}

}  // namespace gradgraph

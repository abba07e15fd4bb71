#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "device/cpu/broadcast.h"
#include "device/cpu/kernels.h"
#include "device/cpu/program_runner.h"
#include "device/parallel.h"

/// Sums of what a program computes, taken while it is in the first-level cache. Each thread adds
/// up a part of its own, block by block; the parts are added in their order. So results depend on
/// the shape and the number of threads alone.
namespace gradgraph {
namespace {

using std::int64_t;

/// Elements that are computed at once.
constexpr int64_t kBlock = 4096;

/// The program's elements as [rows, columns], one of which is summed over.
class SumsSite {
 public:
  explicit SumsSite(const KernelSite& site)
      : program_(program_of(site.node()), shapes_of(site)),
        leading_(site.attribute<bool>("leading")),
        keeps_elements_(site.attribute<bool>("keeps_elements")),
        threads_(site.threads()) {
    const Shape& shape = program_of(site.node()).shape;
    const auto split = site.attribute<int64_t>("split");
    for (int axis = 0; axis < shape.rank(); ++axis)
      (axis < split ? rows_ : columns_) *= shape[axis];
    const int64_t summed = leading_ ? rows_ : columns_;
    count_ = site.attribute<bool>("mean") ? static_cast<double>(summed) : 1;
    const int64_t split_over = is_single() ? columns_ : rows_;
    parts_ = std::clamp<int64_t>(rows_ * columns_ / kParallelGrain, 1,
                                 std::min<int64_t>(threads_, std::max<int64_t>(split_over, 1)));
    block_rows_ = std::max<int64_t>(kBlock / std::max<int64_t>(columns_, 1), 1);
  }

  /// Per thread: the program's scratch, a block of elements, and for column sums two rows.
  template <class T>
  std::size_t part_bytes() const {
    const int64_t block = leading_ ? block_rows_ * columns_ : kBlock;
    const int64_t sums = leading_ ? 2 * columns_ : 1;
    const std::size_t bytes =
        program_.scratch_bytes() + static_cast<std::size_t>(block + sums) * sizeof(T);
    return (bytes + 63) / 64 * 64;
  }
  template <class T>
  std::size_t workspace_bytes() const {
    return static_cast<std::size_t>(parts_) * part_bytes<T>();
  }

  template <class T>
  void run(const KernelArgs& args) const {
    if (leading_)
      sum_columns<T>(args);
    else if (is_single())
      sum_all<T>(args);
    else
      sum_rows<T>(args);
  }

 private:
  static std::vector<Shape> shapes_of(const KernelSite& site) {
    std::vector<Shape> shapes;
    for (int i = 0; i < site.num_inputs(); ++i) shapes.push_back(site.input_shape(i));
    return shapes;
  }

  /// One sum over everything, for which threads share the columns.
  bool is_single() const { return !leading_ && rows_ == 1; }

  template <class T>
  struct Part {
    char* scratch;
    T* sums;
    T* block;
  };
  template <class T>
  Part<T> part(const KernelArgs& args, int64_t index) const {
    char* begin =
        static_cast<char*>(args.workspace) + static_cast<std::size_t>(index) * part_bytes<T>();
    T* sums = reinterpret_cast<T*>(begin + program_.scratch_bytes());
    return {begin, sums, sums + (leading_ ? 2 * columns_ : 1)};
  }

  /// Elements [begin, end) of the program, where they are kept or else in the part's block.
  template <class T>
  const T* compute(const KernelArgs& args, const Part<T>& part, int64_t begin,
                   int64_t end) const {
    T* elements = keeps_elements_ ? args.output<T>(0) : part.block - begin;
    void* output = elements;
    program_.run(args.inputs, {&output, 1}, part.scratch, begin, end);
    return elements + begin;
  }

  /// In interleaved series, which vectorises and keeps rounding errors small.
  template <class T>
  static T sum_of(const T* x, int64_t count) {
    constexpr int64_t kLanes = 32;
    std::array<T, kLanes> lanes{};
    T* lane = lanes.data();
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
      for (int64_t k = 0; k < kLanes; ++k) lane[k] += x[i + k];
    for (int64_t k = 0; i + k < count; ++k) lane[k] += x[i + k];
    for (int64_t width = kLanes / 2; width > 0; width /= 2)
      for (int64_t k = 0; k < width; ++k) lane[k] += lane[k + width];
    return lane[0];
  }

  template <class T>
  T finished(T sum) const {
    return sum / static_cast<T>(count_);
  }

  template <class T>
  T* result(const KernelArgs& args) const {
    return args.output<T>(keeps_elements_ ? 1 : 0);
  }

  template <class T>
  void sum_columns(const KernelArgs& args) const {
    parallel_parts(rows_, parts_, [&](int64_t index, int64_t begin, int64_t end) {
      const Part<T> own = part<T>(args, index);
      T *total = own.sums, *sum = own.sums + columns_;
      std::fill_n(total, columns_, T{0});
      for (int64_t row = begin; row < end; row += block_rows_) {
        const int64_t stop = std::min(row + block_rows_, end);
        const T* x = compute(args, own, row * columns_, stop * columns_);
        std::copy_n(x, columns_, sum);
        for (int64_t r = 1; r < stop - row; ++r) add(x + r * columns_, sum);
        add(sum, total);
      }
    });
    T* y = result<T>(args);
    std::copy_n(part<T>(args, 0).sums, columns_, y);
    for (int64_t index = 1; index < parts_; ++index) add(part<T>(args, index).sums, y);
    for (int64_t i = 0; i < columns_; ++i) y[i] = finished(y[i]);
  }

  template <class T>
  void add(const T* x, T* sum) const {
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < columns_; ++i) sum[i] += x[i];
  }

  template <class T>
  void sum_all(const KernelArgs& args) const {
    parallel_parts(columns_, parts_, [&](int64_t index, int64_t begin, int64_t end) {
      const Part<T> own = part<T>(args, index);
      *own.sums = sum_range(args, own, begin, end);
    });
    T total = *part<T>(args, 0).sums;
    for (int64_t index = 1; index < parts_; ++index) total += *part<T>(args, index).sums;
    *result<T>(args) = finished(total);
  }

  template <class T>
  T sum_range(const KernelArgs& args, const Part<T>& own, int64_t begin, int64_t end) const {
    T total = 0;
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t stop = std::min(i + kBlock, end);
      total += sum_of(compute(args, own, i, stop), stop - i);
    }
    return total;
  }

  template <class T>
  void sum_rows(const KernelArgs& args) const {
    T* y = result<T>(args);
    parallel_parts(rows_, parts_, [&](int64_t index, int64_t begin, int64_t end) {
      const Part<T> own = part<T>(args, index);
      if (columns_ > kBlock) {
        for (int64_t row = begin; row < end; ++row)
          y[row] = finished(sum_range(args, own, row * columns_, (row + 1) * columns_));
        return;
      }
      for (int64_t row = begin; row < end; row += block_rows_) {
        const int64_t stop = std::min(row + block_rows_, end);
        const T* x = compute(args, own, row * columns_, stop * columns_);
        for (int64_t r = row; r < stop; ++r)
          y[r] = finished(sum_of(x + (r - row) * columns_, columns_));
      }
    });
  }

  ProgramRunner program_;
  bool leading_, keeps_elements_;
  int threads_;
  int64_t rows_ = 1, columns_ = 1, parts_ = 1, block_rows_ = 1;
  double count_ = 1;  ///< what sums are divided by
};

template <class T>
Kernel make(const KernelSite& node) {
  SumsSite site(node);
  const std::size_t workspace = site.workspace_bytes<T>();
  return {[site = std::move(site)](const KernelArgs& args) { site.run<T>(args); }, workspace};
}

}  // namespace

void register_fused_reduction_kernels(KernelRegistry& registry) {
  registry.add("fused_sums", kCpu, {float32, float64, int32, int64, uint8, boolean},
               [](const KernelSite& site) {
                 return site.output_dtype() == float32 ? make<float>(site) : make<double>(site);
               });
}

}  // namespace gradgraph

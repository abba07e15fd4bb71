#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "device/cpu/broadcast.h"
#include "device/cpu/fused/program_runner.h"
#include "device/cpu/general/row_sum.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"

/// Sums of what a program computes, taken while it is in the first-level cache: block by block in
/// parts, which are added in their order. Parts and blocks depend on the shape alone, and so do
/// results.
namespace gradgraph {
namespace {

using std::int64_t;

/// Elements that are computed at once.
constexpr int64_t kBlock = 4096;
/// Rows that a part should at least have: adding up its sums must be little beside them.
constexpr int64_t kLeastRows = 8;
/// Rows of long column sums that are added before their sum is.
constexpr int64_t kRowsAtOnce = 32;

/// The program's elements as [samples, rows, columns]: rows are summed over, or columns, and then
/// it is one sample.
class SumsSite {
 public:
  explicit SumsSite(const KernelSite& site)
      : program_(program_of(site.node()), shapes_of(site)),
        leading_(site.attribute<bool>("leading")),
        keeps_elements_(site.attribute<bool>("keeps_elements")) {
    const Shape& shape = program_of(site.node()).shape;
    const auto first = site.attribute<int64_t>("first"), split = site.attribute<int64_t>("split");
    for (int axis = 0; axis < shape.rank(); ++axis)
      (axis < first ? samples_ : axis < split ? rows_ : columns_) *= shape[axis];
    const int64_t summed = leading_ ? rows_ : columns_;
    count_ = site.attribute<bool>("mean") ? static_cast<double>(summed) : 1;
    const int64_t most_parts = is_single() ? kMaxParts : rows_ / kLeastRows;
    parts_ = parts_for(std::min(rows_ * columns_ / kParallelGrain, most_parts));
    block_rows_ = std::max<int64_t>(kBlock / std::max<int64_t>(columns_, 1), 1);
    int64_t tasks = parts_;
    if (has_long_sums()) tasks = strips();
    if (samples_ > 1)
      tasks = std::min(tasks * samples_, samples_ * rows_ * columns_ / kParallelGrain);
    if (!leading_ && !is_single())
      tasks = std::min(rows_, std::max<int64_t>(rows_ * columns_ / kParallelGrain, 1));
    workers_ = workers_for(tasks, site.threads());
  }

  /// The parts' sums come first, then what workers have for themselves.
  template <class T>
  std::size_t workspace_bytes() const {
    return sums_bytes<T>() + static_cast<std::size_t>(workers_) * worker_bytes<T>();
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

  /// One sum over everything.
  bool is_single() const { return !leading_ && rows_ == 1; }
  /// Column sums that are longer than a block: these are made strip by strip, a block wide.
  bool has_long_sums() const { return leading_ && columns_ > kBlock; }
  int64_t strips() const { return (columns_ + kBlock - 1) / kBlock; }

  static std::size_t whole_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

  /// The parts of all samples, and a part's sums: one, or a row.
  int64_t all_parts() const { return samples_ * parts_; }
  int64_t sums_each() const { return leading_ ? columns_ : 1; }
  template <class T>
  std::size_t sums_bytes() const {
    if (has_long_sums()) return 0;
    return whole_lines(static_cast<std::size_t>(all_parts() * sums_each()) * sizeof(T));
  }
  template <class T>
  T* sums_of(const KernelArgs& args, int64_t part) const {
    return static_cast<T*>(args.workspace) + part * sums_each();
  }

  /// The program's scratch, a block of elements, and for column sums the sum of one.
  int64_t block_elements() const {
    return std::max(leading_ ? block_rows_ * columns_ : 0, kBlock);
  }
  template <class T>
  std::size_t worker_bytes() const {
    const int64_t sum = leading_ ? std::min(columns_, kBlock) : 0;
    return whole_lines(program_.scratch_bytes() +
                       static_cast<std::size_t>(block_elements() + sum) * sizeof(T));
  }
  template <class T>
  struct Worker {
    char* scratch;
    T *block, *sum;
  };
  template <class T>
  Worker<T> worker(const KernelArgs& args, int64_t index) const {
    char* scratch = static_cast<char*>(args.workspace) + sums_bytes<T>() +
                    static_cast<std::size_t>(index) * worker_bytes<T>();
    T* block = reinterpret_cast<T*>(scratch + program_.scratch_bytes());
    return {scratch, block, block + block_elements()};
  }

  /// Elements [begin, end) of the program, where they are kept or else in the worker's block.
  template <class T>
  const T* compute(const KernelArgs& args, const Worker<T>& own, int64_t begin,
                   int64_t end) const {
    T* elements = keeps_elements_ ? args.output<T>(0) : own.block - begin;
    void* output = elements;
    program_.run(args.inputs, {&output, 1}, own.scratch, begin, end);
    return elements + begin;
  }

  /// What changes no element that is added to it, -0 included; the sum of none is 0.
  template <class T>
  T start() const {
    return rows_ * columns_ == 0 ? T{0} : -T{0};
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
    if (has_long_sums()) {
      sum_strips<T>(args);
      return;
    }
    parallel_tasks(all_parts(), workers_, [&](int64_t task, int64_t index) {
      const Worker<T> own = worker<T>(args, index);
      T* total = sums_of<T>(args, task);
      std::fill_n(total, columns_, start<T>());
      const int64_t before = task / parts_ * rows_, part = task % parts_;
      const int64_t end = before + rows_ * (part + 1) / parts_;
      for (int64_t row = before + rows_ * part / parts_; row < end; row += block_rows_) {
        const int64_t stop = std::min(row + block_rows_, end);
        const T* x = compute(args, own, row * columns_, stop * columns_);
        std::copy_n(x, columns_, own.sum);
        ColumnSums<T>::add(x + columns_, stop - row - 1, columns_, own.sum);
        add(own.sum, columns_, total);
      }
    });
    for (int64_t sample = 0; sample < samples_; ++sample) {
      T* y = result<T>(args) + sample * columns_;
      std::copy_n(sums_of<T>(args, sample * parts_), columns_, y);
      for (int64_t part = 1; part < parts_; ++part)
        add(sums_of<T>(args, sample * parts_ + part), columns_, y);
      for (int64_t i = 0; i < columns_; ++i) y[i] = finished(y[i]);
    }
  }

  template <class T>
  void sum_strips(const KernelArgs& args) const {
    parallel_tasks(samples_ * strips(), workers_, [&](int64_t task, int64_t index) {
      const Worker<T> own = worker<T>(args, index);
      const int64_t sample = task / strips(), first = task % strips() * kBlock;
      const int64_t width = std::min(kBlock, columns_ - first);
      T* y = result<T>(args) + sample * columns_ + first;
      std::fill_n(y, width, start<T>());
      for (int64_t row = sample * rows_, end = row + rows_; row < end;) {
        const int64_t stop = std::min(row + kRowsAtOnce, end);
        std::fill_n(own.sum, width, start<T>());
        for (; row < stop; ++row) {
          const int64_t begin = row * columns_ + first;
          add(compute(args, own, begin, begin + width), width, own.sum);
        }
        add(own.sum, width, y);
      }
      for (int64_t i = 0; i < width; ++i) y[i] = finished(y[i]);
    });
  }

  template <class T>
  static void add(const T* x, int64_t count, T* sum) {
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
  }

  template <class T>
  void sum_all(const KernelArgs& args) const {
    parallel_tasks(parts_, workers_, [&](int64_t part, int64_t index) {
      *sums_of<T>(args, part) = sum_range(args, worker<T>(args, index), columns_ * part / parts_,
                                          columns_ * (part + 1) / parts_);
    });
    T total = *sums_of<T>(args, 0);
    for (int64_t part = 1; part < parts_; ++part) total += *sums_of<T>(args, part);
    *result<T>(args) = finished(total);
  }

  template <class T>
  T sum_range(const KernelArgs& args, const Worker<T>& own, int64_t begin, int64_t end) const {
    T total = start<T>();
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t stop = std::min(i + kBlock, end);
      total += RowSum<T>::of(compute(args, own, i, stop), stop - i, start<T>());
    }
    return total;
  }

  /// Each row by itself, so it does not matter where a worker's rows end.
  template <class T>
  void sum_rows(const KernelArgs& args) const {
    T* y = result<T>(args);
    parallel_parts(rows_, workers_, [&](int64_t index, int64_t begin, int64_t end) {
      const Worker<T> own = worker<T>(args, index);
      if (columns_ > kBlock) {
        for (int64_t row = begin; row < end; ++row)
          y[row] = finished(sum_range(args, own, row * columns_, (row + 1) * columns_));
        return;
      }
      for (int64_t row = begin; row < end; row += block_rows_) {
        const int64_t stop = std::min(row + block_rows_, end);
        const T* x = compute(args, own, row * columns_, stop * columns_);
        for (int64_t r = row; r < stop; ++r)
          y[r] = finished(RowSum<T>::of(x + (r - row) * columns_, columns_, start<T>()));
      }
    });
  }

  ProgramRunner program_;
  bool leading_, keeps_elements_;
  int64_t samples_ = 1, rows_ = 1, columns_ = 1;
  int64_t parts_ = 1, workers_ = 1, block_rows_ = 1;
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

#include <algorithm>
#include <array>
#include <type_traits>

#include "device/cpu/broadcast.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"
#include "device/shared/scalar_functors.h"

/// Sums and their like. What is combined with what depends on the shape alone, never on the
/// number of threads, and partial results are combined in pairs, so that the rounding error of a
/// sum grows with the logarithm of its length. That of a product grows with its length whatever
/// the order, so float32 products are taken in float64.
namespace gradgraph {
namespace {

using std::int64_t;

/// Elements that one task combines; longer reductions are cut into chunks of this size.
constexpr int64_t kChunk = 32768;
/// Columns that one task carries side by side.
constexpr int64_t kTile = 64;
constexpr int64_t kLanes = 16;
/// Neighbours that are combined one after the other, in lanes, before pairing begins.
constexpr int64_t kRun = 32 * kLanes;

/// The offsets of the elements of some axes of a larger array, in row-major order.
class Walk {
 public:
  /// Axes are given from the innermost outwards.
  void append(int64_t extent, int64_t stride) {
    extents_[rank_] = extent;
    strides_[rank_++] = stride;
    count_ *= extent;
  }
  int64_t count() const { return count_; }
  /// True for neighbours that are `size` elements long.
  bool is_run_of(int64_t size) const { return rank_ == 1 && strides_[0] == size; }
  int64_t offset(int64_t index) const {
    int64_t offset = 0;
    for (std::size_t axis = 0; axis + 1 < rank_; ++axis) {
      offset += index % extents_[axis] * strides_[axis];
      index /= extents_[axis];
    }
    return rank_ == 0 ? 0 : offset + index * strides_[rank_ - 1];
  }

 private:
  std::array<int64_t, Shape::kMaxRank> extents_{}, strides_{};
  std::size_t rank_ = 0;
  int64_t count_ = 1;
};

/// An array's axes, neighbours of one kind merged: the innermost group apart, which is
/// contiguous, and the others by whether they are kept.
struct Layout {
  Walk kept, reduced;
  int64_t inner = 1;
  bool inner_reduced = true;

  Layout(const Shape& shape, std::uint32_t reduced_axes) {
    int64_t stride = 1;
    bool first = true;
    for (int axis = shape.rank() - 1; axis >= 0;) {
      if (shape[axis] == 1) {
        --axis;
        continue;
      }
      const auto is_reduced = [&](int a) { return (reduced_axes >> a & 1u) != 0; };
      const bool group_reduced = is_reduced(axis);
      int64_t extent = 1;
      for (; axis >= 0 && (shape[axis] == 1 || is_reduced(axis) == group_reduced); --axis)
        extent *= shape[axis];
      if (first) {
        inner = extent;
        inner_reduced = group_reduced;
      } else {
        (group_reduced ? reduced : kept).append(extent, stride);
      }
      stride *= extent;
      first = false;
    }
  }

  int64_t results() const { return kept.count() * (inner_reduced ? 1 : inner); }
  int64_t elements_each() const { return reduced.count() * (inner_reduced ? inner : 1); }
};

/// Combines values that come one after the other in pairs, pairs of pairs, and so on.
template <class Combine, class T>
class Cascade {
 public:
  void push(T value) {
    for (int64_t n = count_++; n & 1; n >>= 1) value = Combine{}(levels_[--height_], value);
    levels_[height_++] = value;
  }
  T total() const {
    T value = levels_[height_ - 1];
    for (std::size_t level = height_ - 1; level-- > 0;) value = Combine{}(levels_[level], value);
    return value;
  }

 private:
  std::array<T, 64> levels_;
  std::size_t height_ = 0;
  int64_t count_ = 0;
};

/// The same for tiles of values side by side.
template <class Combine, class T>
class TileCascade {
 public:
  explicit TileCascade(int64_t width) : width_(width) {}

  /// Where the next values are written before `push`.
  T* next() { return levels_[height_].data(); }
  void push() {
    for (int64_t n = count_++; n & 1; n >>= 1) merge();
    ++height_;
  }
  const T* total() {
    for (--height_; height_ > 0;) merge();
    return levels_[0].data();
  }

 private:
  /// The values at `height_` into those below.
  void merge() {
    const T* from = levels_[height_--].data();
    T* to = levels_[height_].data();
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < width_; ++i) to[i] = Combine{}(to[i], from[i]);
  }

  std::array<std::array<T, kTile>, 16> levels_;
  std::size_t height_ = 0;
  int64_t count_ = 0;
  int64_t width_;
};

/// At most kRun neighbours, in kLanes interleaved series. Not inlined: callers are many. Here and
/// below, A is the type to calculate in.
template <class Combine, class A, class T>
[[gnu::noinline]] A combine_run(const T* x, int64_t length) {
  const Combine combine;
  if (length < kLanes) {
    A value = A{*x};
    for (int64_t i = 1; i < length; ++i) value = combine(value, A{x[i]});
    return value;
  }
  A lanes[kLanes];
  const int64_t whole = length / kLanes * kLanes, rest = length - whole;
  std::copy_n(x, kLanes, lanes);
  for (int64_t i = kLanes; i < whole; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] = combine(lanes[lane], A{x[i + lane]});
  for (int64_t lane = 0; lane < rest; ++lane)
    lanes[lane] = combine(lanes[lane], A{x[whole + lane]});
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t lane = 0; lane < width; ++lane)
      lanes[lane] = combine(lanes[lane], lanes[lane + width]);
  return lanes[0];
}

/// `reduced` is innermost: combines elements [begin, end) of those that make one result.
template <class Combine, class A, class T>
A combine_rows(const T* x, const Layout& layout, int64_t begin, int64_t end) {
  int64_t row = begin / layout.inner, column = begin % layout.inner;
  if (end - begin <= std::min(layout.inner - column, kRun))
    return combine_run<Combine, A>(x + layout.reduced.offset(row) + column, end - begin);
  Cascade<Combine, A> cascade;
  while (begin < end) {
    const int64_t length = std::min({layout.inner - column, end - begin, kRun});
    cascade.push(combine_run<Combine, A>(x + layout.reduced.offset(row) + column, length));
    begin += length;
    column += length;
    if (column == layout.inner) ++row, column = 0;
  }
  return cascade.total();
}

/// `kept` is innermost: combines rows [begin, end) of `width` columns.
template <class Combine, class A, class T>
[[gnu::noinline]] void combine_columns(const T* x, const Walk& rows, int64_t begin, int64_t end,
                                       int64_t width, A* result) {
  constexpr int64_t kRows = 32;
  const Combine combine;
  TileCascade<Combine, A> cascade(width);
  for (int64_t row = begin; row < end;) {
    const int64_t stop = std::min(row + kRows, end);
    A* total = cascade.next();
    std::copy_n(x + rows.offset(row++), width, total);
    for (; row + 4 <= stop; row += 4) {
      const T* a = x + rows.offset(row);
      const T* b = x + rows.offset(row + 1);
      const T* c = x + rows.offset(row + 2);
      const T* d = x + rows.offset(row + 3);
      GRADGRAPH_VECTORIZE
      for (int64_t i = 0; i < width; ++i)
        total[i] =
            combine(total[i], combine(combine(A{a[i]}, A{b[i]}), combine(A{c[i]}, A{d[i]})));
    }
    for (; row < stop; ++row) {
      const T* a = x + rows.offset(row);
      GRADGRAPH_VECTORIZE
      for (int64_t i = 0; i < width; ++i) total[i] = combine(total[i], A{a[i]});
    }
    cascade.push();
  }
  std::copy_n(cascade.total(), width, result);
}

/// The same for neighbouring rows so narrow that `side` of them are taken for one wide row.
template <class Combine, class A, class T>
void combine_narrow_columns(const T* x, int64_t begin, int64_t end, int64_t width, int64_t side,
                            A* result) {
  const Combine combine;
  const int64_t wide = (end - begin) / side;
  A totals[kTile];
  Walk rows;
  rows.append(wide, side * width);
  combine_columns<Combine>(x + begin * width, rows, 0, wide, side * width, totals);
  for (int64_t left = side; left > 1; left = (left + 1) / 2)
    for (int64_t i = 0; i < left / 2 * width; ++i)
      totals[i] = combine(totals[i], totals[i + (left + 1) / 2 * width]);
  for (int64_t row = begin + wide * side; row < end; ++row)
    for (int64_t i = 0; i < width; ++i) totals[i] = combine(totals[i], A{x[row * width + i]});
  std::copy_n(totals, width, result);
}

/// One sweep over an array of some shape, cut into tasks, each of which makes `width`
/// neighbouring results out of one chunk of what they are made of.
class Sweep {
 public:
  Sweep(const Shape& shape, std::uint32_t reduced_axes) : layout_(shape, reduced_axes) {
    const int64_t columns = layout_.inner_reduced ? 1 : layout_.inner;
    width_ = std::min(columns, kTile);
    tiles_ = (columns + width_ - 1) / width_;
    chunk_ = kChunk / width_;
    chunks_ = (elements_each() + chunk_ - 1) / chunk_;
    if (!layout_.inner_reduced && layout_.reduced.is_run_of(columns)) side_ = kTile / width_;
    one_run_ = layout_.inner_reduced && layout_.inner <= kRun && layout_.reduced.count() == 1;
  }

  int64_t results() const { return layout_.results(); }
  int64_t elements_each() const { return layout_.elements_each(); }
  /// Elements of work space.
  int64_t partials() const { return chunks_ > 1 ? chunks_ * results() : 0; }

  template <class Combine, class A, class T>
  void run(const T* x, A* y, A* workspace, int threads) const {
    A* partial = chunks_ > 1 ? workspace : y;
    const int64_t task_size = std::min(chunk_, elements_each()) * width_;
    const int64_t grain = grain_of(task_size);
    const int64_t tasks = layout_.kept.count() * tiles_ * chunks_;
    parallel_for(tasks, grain, threads, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        if (one_run_)
          y[task] = combine_run<Combine, A>(x + layout_.kept.offset(task), layout_.inner);
        else
          run_task<Combine>(x, partial, task);
    });
    if (chunks_ == 1) return;
    parallel_for(results(), grain_of(chunks_), threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Cascade<Combine, A> cascade;
        for (int64_t chunk = 0; chunk < chunks_; ++chunk)
          cascade.push(partial[chunk * results() + i]);
        y[i] = cascade.total();
      }
    });
  }

 private:
  template <class Combine, class A, class T>
  void run_task(const T* x, A* partial, int64_t task) const {
    const int64_t chunk = task % chunks_;
    const int64_t tile = task / chunks_ % tiles_;
    const int64_t outer = task / chunks_ / tiles_;
    const int64_t begin = chunk * chunk_;
    const int64_t end = std::min(begin + chunk_, elements_each());
    const T* from = x + layout_.kept.offset(outer);
    A* to = partial + chunk * results();
    if (layout_.inner_reduced) {
      to[outer] = combine_rows<Combine, A>(from, layout_, begin, end);
      return;
    }
    const int64_t column = tile * width_;
    const int64_t width = std::min(width_, layout_.inner - column);
    to += outer * layout_.inner + column;
    if (side_ > 1 && end - begin >= side_)
      combine_narrow_columns<Combine>(from, begin, end, width, side_, to);
    else
      combine_columns<Combine>(from + column, layout_.reduced, begin, end, width, to);
  }

  Layout layout_;
  int64_t width_ = 1, tiles_ = 1, chunk_ = 1, chunks_ = 1;
  int64_t side_ = 1;  ///< rows that are taken for one, where they are narrow
  bool one_run_;      ///< whether a result is made of one run of neighbours
};

/// Rows shorter than this are better combined as columns of what lies around them.
constexpr int64_t kShort = 64;

/// The sweeps that reduce `shape`: two where short reduced rows have other reduced axes around
/// them, which go first.
std::vector<Sweep> plan_sweeps(const Shape& shape, std::uint32_t reduced_axes) {
  const Layout layout(shape, reduced_axes);
  if (!layout.inner_reduced || layout.inner >= kShort || layout.reduced.count() == 1)
    return {Sweep(shape, reduced_axes)};
  std::uint32_t around = reduced_axes;
  Shape between = shape;
  int64_t inner = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    inner *= shape[axis];
    if (inner <= layout.inner) around &= ~(1u << axis);
    if (around >> axis & 1u) between.set(axis, 1);
  }
  return {Sweep(shape, around), Sweep(between, reduced_axes)};
}

/// The type that a reduction is calculated in.
template <class R, class T>
using Accumulator =
    std::conditional_t<std::is_same_v<R, functors::Prod> && std::is_same_v<T, float>, double, T>;

template <class R, class T>
Kernel reduce_kernel(const Shape& shape, std::uint32_t reduced_axes, int threads) {
  using A = Accumulator<R, T>;
  using Combine = typename R::Combine;
  const Layout layout(shape, reduced_axes);
  const int64_t results = layout.results(), each = layout.elements_each();
  if (results == 0) return {[](const KernelArgs&) {}};
  if (each == 0) {
    if (std::is_base_of_v<functors::Max, R>)
      throw KernelError("there is no largest or smallest of no elements");
    return {[=](const KernelArgs& args) {
      std::fill_n(args.output<T>(), results, R::finish(R::template start<T>(), 0));
    }};
  }
  std::vector<Sweep> sweeps = plan_sweeps(shape, reduced_axes);
  const int64_t between = sweeps.size() > 1 ? sweeps[0].results() : 0;
  const int64_t partials = std::max(sweeps.front().partials(), sweeps.back().partials());
  const int64_t totals = std::is_same_v<A, T> ? 0 : results;
  const auto run = [=, sweeps = std::move(sweeps)](const KernelArgs& args) {
    const T* x = args.input<T>(0);
    T* y = args.output<T>();
    A* workspace = static_cast<A*>(args.workspace);
    A* total = nullptr;
    if constexpr (std::is_same_v<A, T>)
      total = y;
    else
      total = workspace + partials + between;
    if (between > 0) {
      sweeps.front().run<Combine>(x, workspace + partials, workspace, threads);
      sweeps.back().run<Combine>(workspace + partials, total, workspace, threads);
    } else {
      sweeps.back().run<Combine>(x, total, workspace, threads);
    }
    for (int64_t i = 0; i < results; ++i) y[i] = static_cast<T>(R::finish(total[i], each));
  };
  return {run, static_cast<std::size_t>(between + partials + totals) * sizeof(A)};
}

/// Where each of [outer, length, inner] has its best element along the middle axis.
template <class R, class T>
Kernel index_kernel(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const int axis = static_cast<int>(site.attribute<int64_t>("axis"));
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < shape.rank(); ++i)
    if (i != axis) (i < axis ? outer : inner) *= shape[i];
  const int64_t length = shape[axis];
  if (outer * inner == 0) return {[](const KernelArgs&) {}};
  if (length == 0) throw KernelError("there is no largest or smallest of no elements");
  const int64_t width = std::min(inner, kTile), tiles = (inner + width - 1) / width;
  const int64_t grain = grain_of(length * width);
  return {[=, threads = site.threads()](const KernelArgs& args) {
    const T* x = args.input<T>(0);
    int64_t* y = args.output<int64_t>();
    parallel_for(outer * tiles, grain, threads, [=](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t row = task / tiles, column = task % tiles * width;
        const int64_t columns = std::min(width, inner - column);
        const T* from = x + row * length * inner + column;
        int64_t* index = y + row * inner + column;
        T best[kTile];
        std::copy_n(from, columns, best);
        std::fill_n(index, columns, 0);
        for (int64_t i = 1; i < length; ++i)
          for (int64_t c = 0; c < columns; ++c) {
            const T value = from[i * inner + c];
            if (!R::better(value, best[c])) continue;
            best[c] = value;
            index[c] = i;
          }
      }
    });
  }};
}

template <class R, class... T>
void add_reduction(KernelRegistry& registry, functors::List<T...>) {
  (registry.add_faster(R::op, kCpu, {dtype_of<T>},
                       [](const KernelSite& site) {
                         return reduce_kernel<R, T>(site.input_shape(0), axes_attribute(site),
                                                    site.threads());
                       }),
   ...);
}
template <class... R>
void add_reductions(KernelRegistry& registry, functors::List<R...>) {
  (add_reduction<R>(registry, typename R::Types{}), ...);
}

template <class... T>
void add_sum_to(KernelRegistry& registry, functors::List<T...>) {
  (registry.add_faster("sum_to", kCpu, {dtype_of<T>},
                       [](const KernelSite& site) {
                         const Shape& x = site.input_shape(0);
                         return reduce_kernel<functors::Sum, T>(
                             x, broadcast_axes(x, site.output_shape()), site.threads());
                       }),
   ...);
}

template <class R, class... T>
void add_index_reduction(KernelRegistry& registry, functors::List<T...>) {
  (registry.add_faster(R::op, kCpu, {dtype_of<T>}, index_kernel<R, T>), ...);
}
template <class... R>
void add_index_reductions(KernelRegistry& registry, functors::List<R...>) {
  (add_index_reduction<R>(registry, typename R::Types{}), ...);
}

}  // namespace

void register_reduction_kernels(KernelRegistry& registry) {
  add_reductions(registry, functors::Reduction{});
  add_index_reductions(registry, functors::IndexReduction{});
  add_sum_to(registry, functors::Numbers{});
}

}  // namespace gradgraph

#include "device/cpu/general/indexing.h"
#include "device/cpu/general/strided_copy.h"
#include "device/cpu/kernels.h"
#include "device/cpu/reference/expressions.h"
#include "device/cpu/reference/kernels.h"
#include "device/shared/elements.h"

namespace gradgraph {
namespace {

using std::int64_t;

/// A tile splits each axis in two.
constexpr std::size_t kMaxAxes = 2 * Shape::kMaxRank;
/// Axes of an expression, the innermost ones.
constexpr std::size_t kInner = 3;

struct ViewCopy {
  std::vector<CopyAxis> outer;
  Extents<kInner> extents, from, to;
  int64_t from_offset, to_offset;

  template <class T>
  void run(const void* source, void* target) const {
    std::array<int64_t, kMaxAxes> at{};
    const T* x = static_cast<const T*>(source) + from_offset;
    T* y = static_cast<T*>(target) + to_offset;
    for (std::size_t axis = 1; axis > 0;) {
      auto part = strided(y, extents, to);
      xt::noalias(part) = strided(x, extents, from);
      // On to the next of the outer axes' indices, where there is one.
      for (axis = outer.size(); axis > 0; --axis) {
        const CopyAxis& moved = outer[axis - 1];
        int64_t& index = at[axis - 1];
        const int64_t steps = ++index < moved.size ? 1 : 1 - index;
        x += steps * moved.from;
        y += steps * moved.to;
        if (steps == 1) break;
        index = 0;
      }
    }
  }
};

/// A row of `inner` elements for each of `outer`: `at` of `size` of them.
template <class T>
auto rows_at(T* data, int64_t at, int64_t outer, int64_t size, int64_t inner) {
  return strided<T, 2>(data + at * inner, {outer, inner}, {size * inner, 1});
}

/// Where index i points to; throws where that is nowhere.
struct Indices {
  Indexed at;
  IndexReader read;

  Indices(const KernelSite& site, const Shape& shape)
      : at(shape, static_cast<int>(site.attribute<int64_t>("axis")), site.input_shape(1)),
        read(index_reader(site.input_dtype(1))) {}

  /// Calls body(i, index) for each index, all of which are checked first.
  template <class Body>
  void for_each(const void* indices, const Body& body) const {
    for (int64_t i = 0; i < at.count; ++i)
      if (const int64_t index = read(indices, i); index < 0 || index >= at.size)
        throw index_error(index, i, at.size);
    for (int64_t i = 0; i < at.count && at.outer * at.inner > 0; ++i) body(i, read(indices, i));
  }
};

Kernel make_gather(const KernelSite& site) {
  return dispatch_size(site.output_dtype(), [&]<class T>() -> Kernel {
    return {[indices = Indices(site, site.input_shape(0))](const KernelArgs& args) {
      const Indexed& at = indices.at;
      indices.for_each(args.inputs[1], [&](int64_t i, int64_t index) {
        auto y = rows_at(args.output<T>(), i, at.outer, at.count, at.inner);
        xt::noalias(y) = rows_at(args.input<T>(0), index, at.outer, at.size, at.inner);
      });
    }};
  });
}

Kernel make_scatter_add(const KernelSite& site) {
  return dispatch_sum(site.output_dtype(), [&]<class T>() -> Kernel {
    return {[indices = Indices(site, site.output_shape())](const KernelArgs& args) {
      const Indexed& at = indices.at;
      std::fill_n(args.output<T>(), at.outer * at.size * at.inner, T{0});
      indices.for_each(args.inputs[1], [&](int64_t i, int64_t index) {
        auto y = rows_at(args.output<T>(), index, at.outer, at.size, at.inner);
        xt::noalias(y) += rows_at(args.input<T>(2), i, at.outer, at.count, at.inner);
      });
    }};
  });
}

Kernel make_one_hot(const KernelSite& site) {
  const int64_t rows = site.input_shape(0).num_elements();
  const int64_t depth = site.attribute<int64_t>("depth");
  const std::uint64_t one = element_bits(site.output_dtype(), 1);
  const IndexReader read = index_reader(site.input_dtype(0));
  return dispatch_size(site.output_dtype(), [&]<class T>() -> Kernel {
    return {[=](const KernelArgs& args) {
      std::fill_n(args.output<T>(), rows * depth, T{0});
      auto y = matrix(args.output<T>(), rows, depth);
      for (int64_t row = 0; row < rows; ++row)
        if (const int64_t index = read(args.inputs[0], row); index >= 0 && index < depth)
          y(row, index) = static_cast<T>(one);
    }};
  });
}

}  // namespace

Copy view_copy(const std::vector<CopyAxis>& axes, int64_t from_offset, int64_t to_offset,
               DType dtype, int) {
  ViewCopy copy{.from_offset = from_offset, .to_offset = to_offset};
  copy.extents.fill(1);
  copy.from.fill(0);
  copy.to.fill(0);
  const std::vector<CopyAxis> joined = joined_axes(axes);
  for (std::size_t i = 0; i < joined.size(); ++i) {
    const auto [size, from, to] = joined[i];
    if (size == 0) return [](const KernelArgs&, const void*, void*) {};
    if (joined.size() - i > kInner) {
      copy.outer.push_back(joined[i]);
      continue;
    }
    const std::size_t at = i + kInner - joined.size();
    copy.extents[at] = size;
    copy.from[at] = from;
    copy.to[at] = to;
  }
  return dispatch_size(dtype, [&]<class T>() -> Copy {
    return [copy](const KernelArgs&, const void* from, void* to) { copy.run<T>(from, to); };
  });
}

void register_reference_indexing(KernelRegistry& registry) {
  registry.add("gather", kCpu, kAllDTypes, make_gather);
  registry.add("scatter_add", kCpu, kNumberDTypes, make_scatter_add);
  registry.add("one_hot", kCpu, {int32, int64, uint8}, make_one_hot);
}

}  // namespace gradgraph

#include "device/shared/movement.h"

#include <algorithm>

#include "core/text.h"
#include "device/shared/elements.h"
#include "ops/array/slices.h"

namespace gradgraph {
namespace {

using Ints = std::vector<std::int64_t>;

std::size_t index(int axis) { return static_cast<std::size_t>(axis); }

/// A kernel that makes its output with one copy of input `input`.
Kernel copy_kernel(Copy copy, std::size_t input = 0) {
  return {[copy = std::move(copy), input](const KernelArgs& args) {
    copy(args, args.inputs[input], args.outputs[0]);
  }};
}

/// The element that `x` begins with along reversed axes is its last one.
Kernel make_flip(const KernelSite& site, const CopyMakers& make) {
  const Shape& shape = site.output_shape();
  const Ints strides = contiguous_strides(shape);
  const std::uint32_t reversed = axes_attribute(site);
  std::vector<CopyAxis> axes;
  std::int64_t offset = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const std::int64_t stride = strides[index(axis)];
    const bool backwards = (reversed >> axis & 1u) != 0;
    if (backwards) offset += (shape[axis] - 1) * stride;
    axes.push_back({shape[axis], backwards ? -stride : stride, stride});
  }
  return copy_kernel(make.copy(axes, offset, 0, site.output_dtype(), site.threads()));
}

/// The elements of `whole` that a node's slices take: where the first is, and each axis.
struct Taken {
  std::int64_t offset = 0;
  std::vector<std::int64_t> counts, strides;

  Taken(const KernelSite& site, const Shape& whole) {
    const Ints &begin = site.attribute<Ints>("begin"), &end = site.attribute<Ints>("end"),
               &step = site.attribute<Ints>("step"), all = contiguous_strides(whole);
    for (std::size_t axis = 0; axis < all.size(); ++axis) {
      const TakenElements taken =
          take(begin[axis], end[axis], step[axis], whole[static_cast<int>(axis)]);
      counts.push_back(taken.count);
      strides.push_back(taken.count > 1 ? step[axis] * all[axis] : 0);
      offset += taken.first * all[axis];
    }
  }
};

Kernel make_strided_slice(const KernelSite& site, const CopyMakers& make) {
  const Taken taken(site, site.input_shape(0));
  const Ints strides = contiguous_strides(site.output_shape());
  std::vector<CopyAxis> axes;
  for (std::size_t axis = 0; axis < strides.size(); ++axis)
    axes.push_back({taken.counts[axis], taken.strides[axis], strides[axis]});
  return copy_kernel(make.copy(axes, taken.offset, 0, site.output_dtype(), site.threads()));
}

Kernel make_strided_slice_grad(const KernelSite& site, const CopyMakers& make) {
  const Taken taken(site, site.output_shape());
  const Ints strides = contiguous_strides(site.input_shape(1));
  std::vector<CopyAxis> axes;
  for (std::size_t axis = 0; axis < strides.size(); ++axis)
    axes.push_back({taken.counts[axis], strides[axis], taken.strides[axis]});
  const DType dtype = site.output_dtype();
  const Fill clear =
      make.fill({{site.output_shape().num_elements(), 0, 1}}, 0, 0, dtype, site.threads());
  const Copy put = make.copy(axes, 0, taken.offset, dtype, site.threads());
  return {[clear, put](const KernelArgs& args) {
    clear(args, args.outputs[0]);
    put(args, args.inputs[1], args.outputs[0]);
  }};
}

Kernel make_transpose(const KernelSite& site, const CopyMakers& make) {
  const Shape& to = site.output_shape();
  const Ints from_strides = contiguous_strides(site.input_shape(0)),
             to_strides = contiguous_strides(to);
  const Ints& permutation = site.attribute<Ints>("permutation");
  std::vector<CopyAxis> axes;
  for (int axis = 0; axis < to.rank(); ++axis)
    axes.push_back({to[axis], from_strides[static_cast<std::size_t>(permutation[index(axis)])],
                    to_strides[index(axis)]});
  return copy_kernel(make.copy(axes, 0, 0, site.output_dtype(), site.threads()));
}

/// Copies between a whole tensor and a part of `whole` as long as `size` along `axis`.
std::vector<CopyAxis> along_axis(const Shape& whole, int axis, std::int64_t size, bool into) {
  const std::int64_t inner = extent(whole, axis + 1, whole.rank());
  const std::int64_t block = whole[axis] * inner, part = size * inner;
  return {{extent(whole, 0, axis), into ? part : block, into ? block : part}, {part, 1, 1}};
}

Kernel make_concat(const KernelSite& site, const CopyMakers& make) {
  const Shape& to = site.output_shape();
  const int axis = static_cast<int>(site.attribute<std::int64_t>("axis"));
  const std::int64_t inner = extent(to, axis + 1, to.rank());
  std::vector<Copy> copies;
  std::int64_t offset = 0;
  for (int i = 0; i < site.num_inputs(); ++i) {
    const std::int64_t size = site.input_shape(i)[axis];
    copies.push_back(make.copy(along_axis(to, axis, size, true), 0, offset, site.output_dtype(),
                               site.threads()));
    offset += size * inner;
  }
  return {[copies = std::move(copies)](const KernelArgs& args) {
    for (std::size_t i = 0; i < copies.size(); ++i)
      copies[i](args, args.inputs[i], args.outputs[0]);
  }};
}

Kernel make_split(const KernelSite& site, const CopyMakers& make) {
  const Shape& from = site.input_shape(0);
  const int axis = static_cast<int>(site.attribute<std::int64_t>("axis"));
  const std::int64_t inner = extent(from, axis + 1, from.rank());
  std::vector<Copy> copies;
  std::int64_t offset = 0;
  for (const std::int64_t size : site.attribute<Ints>("sizes")) {
    copies.push_back(make.copy(along_axis(from, axis, size, false), offset, 0,
                               site.input_dtype(0), site.threads()));
    offset += size * inner;
  }
  if (offset != extent(from, axis, from.rank()))
    throw KernelError(
        fmt::format("the sizes do not make up axis {} of {}", axis, from.to_string()));
  return {[copies = std::move(copies)](const KernelArgs& args) {
    for (std::size_t i = 0; i < copies.size(); ++i)
      copies[i](args, args.inputs[0], args.outputs[i]);
  }};
}

Kernel make_slice(const KernelSite& site, const CopyMakers& make) {
  const Shape &from = site.input_shape(0), &to = site.output_shape();
  const Ints begin = site.static_vector(1);
  const Ints from_strides = contiguous_strides(from), to_strides = contiguous_strides(to);
  std::vector<CopyAxis> axes;
  std::int64_t offset = 0;
  for (int axis = 0; axis < to.rank(); ++axis) {
    const std::int64_t first = begin[index(axis)];
    if (first < 0 || first > from[axis] || to[axis] > from[axis] - first)
      throw KernelError(fmt::format("{} elements from {} on do not fit axis {} of {}", to[axis],
                                    first, axis, from.to_string()));
    offset += first * from_strides[index(axis)];
    axes.push_back({to[axis], from_strides[index(axis)], to_strides[index(axis)]});
  }
  return copy_kernel(make.copy(axes, offset, 0, site.output_dtype(), site.threads()));
}

/// Copies the inside, and sets on each axis in turn the part before and the part after it, as
/// far as earlier axes have not: every element is written once.
Kernel make_pad(const KernelSite& site, const CopyMakers& make) {
  const Shape &from = site.input_shape(0), &to = site.output_shape();
  const Ints before = site.static_vector(1), after = site.static_vector(2);
  const Ints from_strides = contiguous_strides(from), to_strides = contiguous_strides(to);
  const DType dtype = site.output_dtype();
  std::vector<CopyAxis> inside, border;
  std::int64_t offset = 0;
  for (int axis = 0; axis < to.rank(); ++axis) {
    if (before[index(axis)] < 0 || after[index(axis)] < 0)
      throw KernelError(fmt::format("a padding of axis {} is negative", axis));
    inside.push_back({from[axis], from_strides[index(axis)], to_strides[index(axis)]});
    border.push_back({to[axis], 0, to_strides[index(axis)]});
    offset += before[index(axis)] * to_strides[index(axis)];
  }
  const Copy copy = make.copy(inside, 0, offset, dtype, site.threads());
  const std::uint64_t value = is_floating(dtype)
                                  ? element_bits(dtype, site.attribute<double>("value"))
                                  : element_bits(dtype, site.attribute<std::int64_t>("integer"));
  std::vector<Fill> fills;
  offset = 0;
  for (int axis = 0; axis < to.rank(); ++axis) {
    const std::int64_t stride = to_strides[index(axis)], first = before[index(axis)];
    CopyAxis& here = border[index(axis)];
    here.size = first;
    fills.push_back(make.fill(border, offset, value, dtype, site.threads()));
    here.size = after[index(axis)];
    fills.push_back(
        make.fill(border, offset + (first + from[axis]) * stride, value, dtype, site.threads()));
    here.size = from[axis];
    offset += first * stride;
  }
  return {[copy, fills = std::move(fills)](const KernelArgs& args) {
    copy(args, args.inputs[0], args.outputs[0]);
    for (const Fill& fill : fills) fill(args, args.outputs[0]);
  }};
}

/// Each axis of the output twice: the copies, and the elements of one copy.
Kernel make_tile(const KernelSite& site, const CopyMakers& make) {
  const Shape &from = site.input_shape(0), &to = site.output_shape();
  const Ints from_strides = contiguous_strides(from), to_strides = contiguous_strides(to);
  const Ints multiples = site.static_vector(1);
  std::vector<CopyAxis> axes;
  for (int axis = 0; axis < to.rank(); ++axis) {
    axes.push_back({multiples[index(axis)], 0, from[axis] * to_strides[index(axis)]});
    axes.push_back({from[axis], from_strides[index(axis)], to_strides[index(axis)]});
  }
  return copy_kernel(make.copy(axes, 0, 0, site.output_dtype(), site.threads()));
}

template <int Input>
Kernel make_broadcast(const KernelSite& site, const CopyMakers& make) {
  const Shape &from = site.input_shape(Input), &to = site.output_shape();
  const Ints from_strides = contiguous_strides(from), to_strides = contiguous_strides(to);
  const int leading = to.rank() - from.rank();
  std::vector<CopyAxis> axes;
  for (int axis = 0; axis < to.rank(); ++axis) {
    const bool repeats = axis < leading || from[axis - leading] == 1;
    axes.push_back(
        {to[axis], repeats ? 0 : from_strides[index(axis - leading)], to_strides[index(axis)]});
  }
  return copy_kernel(make.copy(axes, 0, 0, site.output_dtype(), site.threads()),
                     std::size_t{Input});
}

}  // namespace

std::vector<std::int64_t> contiguous_strides(const Shape& shape) {
  std::vector<std::int64_t> strides(static_cast<std::size_t>(shape.rank()));
  std::int64_t stride = 1;
  for (int axis = shape.rank(); axis-- > 0; stride *= shape[axis])
    strides[static_cast<std::size_t>(axis)] = stride;
  return strides;
}

std::vector<CopyAxis> joined_axes(const std::vector<CopyAxis>& axes) {
  std::vector<CopyAxis> joined;
  for (const CopyAxis& axis : axes) {
    if (axis.size == 1) continue;
    const bool joins = !joined.empty() && joined.back().from == axis.from * axis.size &&
                       joined.back().to == axis.to * axis.size;
    if (joins)
      joined.back() = {joined.back().size * axis.size, axis.from, axis.to};
    else
      joined.push_back(axis);
  }
  return joined;
}

void add_movement_kernels(
    const CopyMakers& makers,
    const std::function<void(std::string_view op, KernelRegistry::Make make)>& add) {
  const auto add_op = [&](std::string_view op,
                          Kernel (*make)(const KernelSite&, const CopyMakers&)) {
    add(op, [=](const KernelSite& site) { return make(site, makers); });
  };
  add_op("transpose", make_transpose);
  add_op("flip", make_flip);
  add_op("strided_slice", make_strided_slice);
  add_op("strided_slice_grad", make_strided_slice_grad);
  add_op("concat", make_concat);
  add_op("split", make_split);
  add_op("slice", make_slice);
  add_op("pad", make_pad);
  add_op("tile", make_tile);
  add_op("broadcast_to", make_broadcast<0>);
  add_op("fill", make_broadcast<1>);
}

}  // namespace gradgraph

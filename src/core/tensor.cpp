#include "gradgraph/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <ostream>

#include "core/convert.h"
#include "core/host_memory.h"
#include "core/text.h"

namespace gradgraph {
namespace {

std::shared_ptr<void> allocate_aligned(std::size_t bytes) {
  void* memory = allocate_host(std::max<std::size_t>(bytes, 1), Tensor::kAlignment);
  if (!memory) throw std::bad_alloc();
  return {memory, [](void* owned) { free_host(owned, Tensor::kAlignment); }};
}

std::size_t checked_bytes(DType dtype, const Shape& shape, SourceLocation where) {
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(shape.num_elements(where), static_cast<std::int64_t>(size_of(dtype)),
                             &bytes))
    throw BuildError(fmt::format("{}{} does not fit in memory", dtype, shape), where);
  return static_cast<std::size_t>(bytes);
}

}  // namespace

Tensor::Tensor(DType dtype, const Shape& shape, SourceLocation where)
    : num_elements_(shape.num_elements(where)), shape_(shape), dtype_(dtype) {
  const std::size_t bytes = checked_bytes(dtype, shape, where);
  try {
    storage_ = allocate_aligned(bytes);
  } catch (const std::bad_alloc&) {
    throw RunError(fmt::format("no memory for {}{}, {} bytes", dtype, shape, bytes), where);
  }
  data_ = storage_.get();
}

Tensor Tensor::zeros(DType dtype, const Shape& shape, SourceLocation where) {
  Tensor tensor(dtype, shape, where);
  std::memset(tensor.data_, 0, tensor.bytes());
  return tensor;
}

namespace {
template <class Value>
Tensor filled(DType dtype, const Shape& shape, Value value, SourceLocation where) {
  Tensor tensor(dtype, shape, where);
  visit_dtype(dtype, [&]<class T>() {
    std::fill_n(static_cast<T*>(tensor.raw()), tensor.num_elements(), convert<T>(value));
  });
  return tensor;
}
}  // namespace

Tensor Tensor::full(DType dtype, const Shape& shape, double value, SourceLocation where) {
  return filled(dtype, shape, value, where);
}
/// A double holds all of the smaller integers, and is taken to the nearest end.
Tensor Tensor::full_of(DType dtype, const Shape& shape, std::int64_t value,
                       SourceLocation where) {
  if (dtype == int32 || dtype == uint8)
    return filled(dtype, shape, static_cast<double>(value), where);
  return filled(dtype, shape, value, where);
}

Tensor Tensor::wrap(DType dtype, const Shape& shape, void* data, std::shared_ptr<void> owner,
                    SourceLocation where) {
  if (reinterpret_cast<std::uintptr_t>(data) % kAlignment != 0)
    throw BuildError(fmt::format("wrapped memory must be aligned to {} bytes", kAlignment),
                     where);
  if (!owner) throw BuildError("wrapped memory needs an owner that keeps it alive", where);
  checked_bytes(dtype, shape, where);
  Tensor tensor;
  tensor.num_elements_ = shape.num_elements(where);
  tensor.storage_ = std::move(owner);
  tensor.data_ = data;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  return tensor;
}

Tensor Tensor::copy_of(DType dtype, const Shape& shape, const void* values, std::size_t count,
                       SourceLocation where) {
  Tensor tensor(dtype, shape, where);
  if (count != static_cast<std::size_t>(tensor.num_elements_))
    throw BuildError(fmt::format("{} values do not fill a tensor of shape {}", count, shape),
                     where);
  if (count > 0) std::memcpy(tensor.data_, values, tensor.bytes());
  return tensor;
}

Tensor Tensor::clone(SourceLocation where) const {
  if (empty_handle()) return {};
  return copy_of(dtype_, shape_, data_, static_cast<std::size_t>(num_elements_), where);
}

Tensor Tensor::reshaped(const Shape& shape, SourceLocation where) const {
  check_handle(where);
  if (shape.num_elements(where) != num_elements_)
    throw RunError(fmt::format("a tensor of shape {} has no view of shape {}", shape_, shape),
                   where);
  Tensor tensor = *this;
  tensor.shape_ = shape;
  return tensor;
}

Tensor Tensor::cast(DType dtype, SourceLocation where) const {
  if (empty_handle()) return {};
  Tensor result(dtype, shape_, where);
  visit_dtype(dtype_, [&]<class From>() {
    visit_dtype(dtype, [&]<class To>() {
      const From* from = static_cast<const From*>(data_);
      std::transform(from, from + num_elements_, static_cast<To*>(result.data_),
                     [](From value) { return convert<To>(value); });
    });
  });
  return result;
}

void Tensor::check_row(std::size_t size, std::size_t expected, SourceLocation where) {
  if (size != expected)
    throw BuildError(fmt::format("rows of a literal differ in length: {} and {}", expected, size),
                     where);
}

void Tensor::check_handle(SourceLocation where) const {
  if (empty_handle()) throw RunError("an empty tensor has no data", where);
}

void Tensor::check_dtype(DType wanted, SourceLocation where) const {
  check_handle(where);
  if (wanted != dtype_)
    throw RunError(fmt::format("a {}{} tensor has no {} data: `.cast(gg::{})` converts it",
                               dtype_, shape_, wanted, cpp_name(wanted)),
                   where);
}

void Tensor::check_single(SourceLocation where) const {
  check_handle(where);
  if (num_elements_ != 1)
    throw RunError(fmt::format("item() needs one element, the shape is {}", shape_), where);
}

std::size_t Tensor::offset_of(std::initializer_list<std::int64_t> index,
                              SourceLocation where) const {
  check_handle(where);
  std::int64_t offset = 0;
  int axis = 0;
  for (const std::int64_t i : index) {
    if (axis == shape_.rank() || i < 0 || i >= shape_[axis])
      throw RunError(fmt::format("index {} on axis {} is outside {}", i, axis, shape_), where);
    offset = offset * shape_[axis++] + i;
  }
  if (axis != shape_.rank())
    throw RunError(fmt::format("{} indices for a tensor of shape {}", axis, shape_), where);
  return static_cast<std::size_t>(offset);
}

namespace {

constexpr std::int64_t kEdgeItems = 3;

template <class T>
void print(fmt::memory_buffer& out, const T* data, const Shape& shape, int axis,
           std::int64_t stride) {
  if (axis == shape.rank()) {
    if constexpr (is_half(dtype_of<T>))
      fmt::format_to(std::back_inserter(out), "{}", static_cast<float>(*data));
    else
      fmt::format_to(std::back_inserter(out), "{}", *data);
    return;
  }
  const std::int64_t size = shape[axis], step = size > 0 ? stride / size : 0;
  out.push_back('[');
  for (std::int64_t i = 0; i < size; ++i) {
    if (i > 0) fmt::format_to(std::back_inserter(out), ", ");
    if (size > 2 * kEdgeItems + 1 && i == kEdgeItems) {
      fmt::format_to(std::back_inserter(out), "..., ");
      i = size - kEdgeItems;
    }
    print(out, data + i * step, shape, axis + 1, step);
  }
  out.push_back(']');
}

}  // namespace

std::string Tensor::to_string() const {
  if (empty_handle()) return "(empty tensor)";
  fmt::memory_buffer out;
  fmt::format_to(std::back_inserter(out), "{}{} ", dtype_, shape_);
  visit_dtype(dtype_, [&]<class T>() {
    print(out, static_cast<const T*>(data_), shape_, 0, num_elements_);
  });
  return fmt::to_string(out);
}

std::ostream& operator<<(std::ostream& stream, const Tensor& tensor) {
  return stream << tensor.to_string();
}

}  // namespace gradgraph

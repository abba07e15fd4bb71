#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gradgraph/dtype.h"
#include "gradgraph/shape.h"
#include "gradgraph/source_location.h"

namespace gradgraph GRADGRAPH_API {

template <class T>
concept Element = requires {
  DTypeOf<T>::value;
};

template <Element T>
class OwningSpan;

/// A concrete value on the host: contiguous, row-major, 64-byte aligned. Copying a Tensor shares
/// its memory; `clone` copies the elements. A default Tensor is empty: no dtype, no memory.
/// Errors name the caller's line.
class Tensor {
 public:
  static constexpr std::size_t kAlignment = 64;

  Tensor() = default;
  /// Uninitialised elements. Throws BuildError when the shape is not fully known, RunError when
  /// there is not enough memory.
  Tensor(DType dtype, const Shape& shape, SourceLocation where = SourceLocation::current());

  /// Literals: `Tensor(1.5f)`, `Tensor{1.f, 2.f}`, `Tensor{{1.f, 2.f}, {3.f, 4.f}}`.
  /// Rows of different lengths throw BuildError.
  template <Element T>
  explicit Tensor(T scalar, SourceLocation where = SourceLocation::current())
      : Tensor(dtype_of<T>, Shape{}, where) {
    *data<T>() = scalar;
  }
  template <Element T>
  Tensor(std::initializer_list<T> values, SourceLocation where = SourceLocation::current())
      : Tensor(dtype_of<T>, Shape{static_cast<std::int64_t>(values.size())}, where) {
    fill_from(values, data<T>());
  }
  template <Element T>
  Tensor(std::initializer_list<std::initializer_list<T>> rows,
         SourceLocation where = SourceLocation::current())
      : Tensor(dtype_of<T>, literal_shape(rows, where), where) {
    T* out = data<T>();
    for (const auto& row : rows) out = fill_from(row, out);
  }
  template <Element T>
  Tensor(std::initializer_list<std::initializer_list<std::initializer_list<T>>> planes,
         SourceLocation where = SourceLocation::current())
      : Tensor(dtype_of<T>, literal_shape(planes, where), where) {
    T* out = data<T>();
    for (const auto& plane : planes)
      for (const auto& row : plane) out = fill_from(row, out);
  }

  static Tensor zeros(DType dtype, const Shape& shape,
                      SourceLocation where = SourceLocation::current());
  /// Every element `value`, converted to `dtype`: C++'s conversion, and a float beyond an
  /// integer's range takes the nearest end.
  static Tensor full(DType dtype, const Shape& shape, double value,
                     SourceLocation where = SourceLocation::current());
  /// The same for an integer, of which no digit is lost on the way.
  template <std::integral T>
  static Tensor full(DType dtype, const Shape& shape, T value,
                     SourceLocation where = SourceLocation::current()) {
    return full_of(dtype, shape, static_cast<std::int64_t>(value), where);
  }
  /// Copies `values`; their number must be the shape's.
  template <Element T>
  static Tensor from(std::span<const T> values, const Shape& shape,
                     SourceLocation where = SourceLocation::current()) {
    return copy_of(dtype_of<T>, shape, values.data(), values.size(), where);
  }
  template <Element T>
  static Tensor from(const std::vector<T>& values, const Shape& shape,
                     SourceLocation where = SourceLocation::current()) {
    static_assert(!std::same_as<T, bool>, "std::vector<bool> does not hold bools");
    return from(std::span<const T>(values), shape, where);
  }
  /// Wraps memory that `owner` keeps alive, without copying. `data` must be 64-byte aligned
  /// (BuildError otherwise).
  static Tensor wrap(DType dtype, const Shape& shape, void* data, std::shared_ptr<void> owner,
                     SourceLocation where = SourceLocation::current());

  bool empty_handle() const { return storage_ == nullptr; }
  explicit operator bool() const { return !empty_handle(); }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t num_elements() const { return num_elements_; }
  std::size_t bytes() const { return static_cast<std::size_t>(num_elements_) * size_of(dtype_); }

  void* raw() { return data_; }
  const void* raw() const { return data_; }
  /// Throws RunError when T is not the tensor's dtype.
  template <Element T>
  T* data(SourceLocation where = SourceLocation::current()) {
    check_dtype(dtype_of<T>, where);
    return static_cast<T*>(data_);
  }
  template <Element T>
  const T* data(SourceLocation where = SourceLocation::current()) const {
    check_dtype(dtype_of<T>, where);
    return static_cast<const T*>(data_);
  }
  template <Element T>
  std::span<T> span(SourceLocation where = SourceLocation::current()) & {
    return {data<T>(where), static_cast<std::size_t>(num_elements_)};
  }
  template <Element T>
  std::span<const T> span(SourceLocation where = SourceLocation::current()) const& {
    return {data<T>(where), static_cast<std::size_t>(num_elements_)};
  }
  /// Of a tensor that nobody else may hold: `for (float x : session.run(y).span<float>())`.
  template <Element T>
  OwningSpan<T> span(SourceLocation where = SourceLocation::current()) && {
    return {span<T>(where), std::move(*this)};
  }
  /// The only element of a tensor with one element; throws RunError otherwise.
  template <Element T>
  T item(SourceLocation where = SourceLocation::current()) const {
    check_single(where);
    return *data<T>(where);
  }
  /// The element at `index`, bounds checked (RunError).
  template <Element T>
  T at(std::initializer_list<std::int64_t> index,
       SourceLocation where = SourceLocation::current()) const {
    return data<T>(where)[offset_of(index, where)];
  }

  Tensor clone(SourceLocation where = SourceLocation::current()) const;
  /// The same memory under another shape with as many elements (RunError otherwise).
  Tensor reshaped(const Shape& shape, SourceLocation where = SourceLocation::current()) const;
  /// The elements converted to `dtype`; a copy even when nothing changes.
  Tensor cast(DType dtype, SourceLocation where = SourceLocation::current()) const;
  /// True when no other Tensor shares this one's memory.
  bool unique() const { return storage_.use_count() == 1; }

  /// "float32[2,3] [[1, 2, 3], [4, 5, 6]]"; of long axes only the first and last three entries.
  std::string to_string() const;

 private:
  template <class T>
  static T* fill_from(std::initializer_list<T> values, T* out) {
    for (T value : values) *out++ = value;
    return out;
  }
  template <class T>
  static Shape literal_shape(std::initializer_list<std::initializer_list<T>> rows,
                             SourceLocation where) {
    const std::size_t columns = rows.size() == 0 ? 0 : rows.begin()->size();
    for (const auto& row : rows) check_row(row.size(), columns, where);
    return Shape{static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(columns)};
  }
  template <class T>
  static Shape literal_shape(
      std::initializer_list<std::initializer_list<std::initializer_list<T>>> planes,
      SourceLocation where) {
    Shape shape{static_cast<std::int64_t>(planes.size()), 0, 0};
    bool first = true;
    for (const auto& plane : planes) {
      const Shape rows = literal_shape(plane, where);
      if (first) shape.set(1, rows[0]), shape.set(2, rows[1]);
      check_row(static_cast<std::size_t>(rows[0]), static_cast<std::size_t>(shape[1]), where);
      check_row(static_cast<std::size_t>(rows[1]), static_cast<std::size_t>(shape[2]), where);
      first = false;
    }
    return shape;
  }
  static void check_row(std::size_t size, std::size_t expected, SourceLocation where);
  static Tensor copy_of(DType dtype, const Shape& shape, const void* values, std::size_t count,
                        SourceLocation where);
  static Tensor full_of(DType dtype, const Shape& shape, std::int64_t value,
                        SourceLocation where);
  void check_handle(SourceLocation where) const;
  void check_dtype(DType wanted, SourceLocation where) const;
  void check_single(SourceLocation where) const;
  std::size_t offset_of(std::initializer_list<std::int64_t> index, SourceLocation where) const;

  std::shared_ptr<void> storage_;
  void* data_ = nullptr;
  std::int64_t num_elements_ = 0;
  Shape shape_;
  DType dtype_ = DType::float32;
};

/// The elements of a Tensor, which live as long as this does.
template <Element T>
class OwningSpan : public std::span<T> {
 public:
  OwningSpan(std::span<T> elements, Tensor owner)
      : std::span<T>(elements), owner_(std::move(owner)) {}

 private:
  Tensor owner_;
};

/// Writes `to_string`.
std::ostream& operator<<(std::ostream& stream, const Tensor& tensor);

}  // namespace gradgraph

#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#if __has_include(<xtensor/containers/xarray.hpp>)  // from 0.26 on
#include <xtensor/containers/xadapt.hpp>
#include <xtensor/containers/xarray.hpp>
#include <xtensor/containers/xtensor.hpp>
#include <xtensor/core/xnoalias.hpp>
#else
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xnoalias.hpp>
#include <xtensor/xtensor.hpp>
#endif

#include "gradgraph/error.h"
#include "gradgraph/tensor.h"

/// Tensors as xtensor containers and back, without copying where layouts allow. The umbrella
/// header gradgraph.h leaves this one out, since programs need xtensor to compile it.
namespace gradgraph {

/// Gives memory aligned as a Tensor wants it.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}  // NOLINT: implicit

  T* allocate(std::size_t count) {
    if (count > std::size_t(-1) / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{alignment()}));
  }
  void deallocate(T* memory, std::size_t) noexcept {
    ::operator delete (memory, std::align_val_t{alignment()});
  }
  static constexpr std::size_t alignment() { return std::max(Tensor::kAlignment, alignof(T)); }
  template <class U>
  bool operator==(const AlignedAllocator<U>&) const {
    return true;
  }
};

/// xtensor's containers with memory that `from_xtensor` always takes over instead of copying.
template <Element T>
using AlignedArray = xt::xarray<T, xt::layout_type::row_major, AlignedAllocator<T>>;
template <Element T, std::size_t Rank>
using AlignedTensor = xt::xtensor<T, Rank, xt::layout_type::row_major, AlignedAllocator<T>>;

namespace xtensor_detail {

template <class T>
auto buffer_of(Tensor tensor, SourceLocation where = {}) {
  auto owner = std::make_shared<Tensor>(std::move(tensor));
  T* data = owner->template data<std::remove_const_t<T>>(where);
  const auto size = static_cast<std::size_t>(owner->num_elements());
  using Buffer = xt::xbuffer_adaptor<T*, xt::smart_ownership, std::shared_ptr<Tensor>>;
  return Buffer(data, size, std::move(owner));
}

template <class T>
auto dynamic_view(Tensor tensor, SourceLocation where = {}) {
  const Shape shape = tensor.shape();
  auto buffer = buffer_of<T>(std::move(tensor), where);
  const std::vector<std::size_t> dims(shape.begin(), shape.end());
  return xt::xarray_adaptor<decltype(buffer), xt::layout_type::row_major,
                            std::vector<std::size_t>>(std::move(buffer), dims);
}

template <class T, std::size_t Rank>
auto fixed_view(Tensor tensor, SourceLocation where) {
  const Shape shape = tensor.shape();
  if (static_cast<std::size_t>(shape.rank()) != Rank)
    throw RunError("a tensor of shape " + shape.to_string() + " is no xtensor of rank " +
                       std::to_string(Rank),
                   where);
  auto buffer = buffer_of<T>(std::move(tensor), where);
  std::array<std::size_t, Rank> dims{};
  std::copy(shape.begin(), shape.end(), dims.begin());
  return xt::xtensor_adaptor<decltype(buffer), Rank, xt::layout_type::row_major>(
      std::move(buffer), dims);
}

template <class Dims>
Shape to_shape(const Dims& dims) {
  Shape shape;
  for (const auto dim : dims) shape.append(static_cast<std::int64_t>(dim), {});
  return shape;
}

/// What a tensor of an expression's values holds: integers without a DType become int64.
template <class T>
using ElementOf = std::conditional_t<Element<T> || !std::integral<T>, T, std::int64_t>;

template <class Expression>
Tensor evaluate(const Expression& expression) {
  using T = ElementOf<typename Expression::value_type>;
  static_assert(Element<T>, "a Tensor cannot hold this expression's values");
  Tensor result(dtype_of<T>, to_shape(expression.shape()), SourceLocation{});
  auto view = dynamic_view<T>(result);
  xt::noalias(view) = xt::cast<T>(expression);
  return result;
}

template <class Container>
Tensor take(Container&& container) {
  using T = typename Container::value_type;
  const auto address = reinterpret_cast<std::uintptr_t>(container.data());
  if constexpr (Element<T>) {
    if (container.layout() == xt::layout_type::row_major && address % Tensor::kAlignment == 0) {
      const Shape shape = to_shape(container.shape());
      auto owner = std::make_shared<Container>(std::move(container));
      return Tensor::wrap(dtype_of<T>, shape, owner->data(), owner);
    }
  }
  return evaluate(container);
}

}  // namespace xtensor_detail

/// The tensor as an xarray of T, or with a Rank as an xtensor of that rank, in the same memory,
/// which the result keeps alive. Writing to it writes to the tensor; a const tensor gives a
/// read-only one. Throws RunError when T is not the tensor's dtype or Rank not its rank.
template <Element T>
auto to_xtensor(Tensor&& tensor, SourceLocation where = SourceLocation::current()) {
  return xtensor_detail::dynamic_view<T>(std::move(tensor), where);
}
template <Element T>
auto to_xtensor(Tensor& tensor, SourceLocation where = SourceLocation::current()) {
  return xtensor_detail::dynamic_view<T>(tensor, where);
}
template <Element T>
auto to_xtensor(const Tensor& tensor, SourceLocation where = SourceLocation::current()) {
  return xtensor_detail::dynamic_view<const T>(tensor, where);
}
template <Element T, std::size_t Rank>
auto to_xtensor(Tensor&& tensor, SourceLocation where = SourceLocation::current()) {
  return xtensor_detail::fixed_view<T, Rank>(std::move(tensor), where);
}
template <Element T, std::size_t Rank>
auto to_xtensor(Tensor& tensor, SourceLocation where = SourceLocation::current()) {
  return xtensor_detail::fixed_view<T, Rank>(tensor, where);
}
template <Element T, std::size_t Rank>
auto to_xtensor(const Tensor& tensor, SourceLocation where = SourceLocation::current()) {
  return xtensor_detail::fixed_view<const T, Rank>(tensor, where);
}

/// A Tensor with the values of any xtensor expression, evaluated now. Integers of a type that is
/// no DType (such as argmax' std::size_t) become int64.
template <class Expression>
Tensor from_xtensor(const xt::xexpression<Expression>& expression) {
  return xtensor_detail::evaluate(expression.derived_cast());
}
/// An xarray or xtensor that is given away hands over its memory when it is row-major and aligned
/// to 64 bytes (AlignedArray and AlignedTensor always are); otherwise it is copied.
template <class Container, xt::layout_type L, class Dims, class Tag>
Tensor from_xtensor(xt::xarray_container<Container, L, Dims, Tag>&& array) {
  return xtensor_detail::take(std::move(array));
}
template <class Container, std::size_t Rank, xt::layout_type L, class Tag>
Tensor from_xtensor(xt::xtensor_container<Container, Rank, L, Tag>&& tensor) {
  return xtensor_detail::take(std::move(tensor));
}

}  // namespace gradgraph

#pragma once

#include <algorithm>

#include "core/convert.h"
#include "device/cpu/broadcast.h"
#include "device/cpu/elementwise/rare_operands.h"
#include "device/cpu/elementwise/rows.h"
#include "device/shared/scalar_functors.h"

/// The loops behind RowTable. Included by one file per level of the instruction set, each with
/// compiler flags of its own and GRADGRAPH_ISA set to its name: everything here must have names
/// of its own per level, since the linker keeps only one of several functions with one name.
namespace gradgraph::GRADGRAPH_ISA {

template <class F, class T>
bool unary_row_with_rare(const T* x, bool moves, T* y, std::int64_t length) {
  constexpr std::int64_t kBlock = 128;
  T operands[kBlock], results[kBlock];
  for (std::int64_t begin = 0; begin < length; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, length - begin);
    for (std::int64_t i = 0; i < count; ++i) operands[i] = x[moves ? begin + i : 0];
    for (std::int64_t i = 0; i < count; ++i) results[i] = F{}(operands[i]);
    if (any_rare<F>(operands, count)) compute_rare<F>(operands, results, count);
    std::copy_n(results, count, y + begin);
  }
  return true;
}

template <class F, class T>
bool unary_row(const void* const* operands, unsigned moves, void* result, std::int64_t length) {
  using Result = std::invoke_result_t<F, T>;
  const T* x = static_cast<const T*>(operands[0]);
  Result* y = static_cast<Result*>(result);
  if constexpr (HasRare<F, T>) {
    return unary_row_with_rare<F>(x, (moves & 1u) != 0, y, length);
  } else if (moves & 1u) {
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < length; ++i) y[i] = F{}(x[i]);
  } else {
    const Result fixed = F{}(*x);
    for (std::int64_t i = 0; i < length; ++i) y[i] = fixed;
  }
  return true;
}

template <class F, class T>
bool accepts(const T* a, const T* b, unsigned moves, std::int64_t length) {
  bool refused = false;
  if constexpr (std::is_integral_v<T> && requires { F::refusal; })
    for (std::int64_t i = 0; i < length; ++i)
      refused |= F::refuses(a[moves & 1u ? i : 0], b[moves & 2u ? i : 0]);
  return !refused;
}

template <class F, class T>
bool binary_row(const void* const* operands, unsigned moves, void* result, std::int64_t length) {
  using Result = std::invoke_result_t<F, T, T>;
  const T* a = static_cast<const T*>(operands[0]);
  const T* b = static_cast<const T*>(operands[1]);
  Result* y = static_cast<Result*>(result);
  // Before the loop: the result may be one of the operands.
  const bool accepted = accepts<F>(a, b, moves, length);
  if ((moves & 3u) == 3u) {
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < length; ++i) y[i] = F{}(a[i], b[i]);
  } else if (moves & 1u) {
    const T fixed = *b;
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < length; ++i) y[i] = F{}(a[i], fixed);
  } else if (moves & 2u) {
    const T fixed = *a;
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < length; ++i) y[i] = F{}(fixed, b[i]);
  } else {
    const Result fixed = F{}(*a, *b);
    for (std::int64_t i = 0; i < length; ++i) y[i] = fixed;
  }
  return accepted;
}

/// `yes` or `no` without a branch, which no vector has. A condition is 0 or 1: compilers find
/// no vectors in bools.
template <class T>
T select(std::uint8_t condition, T yes, T no) {
  const T mask = static_cast<T>(T{0} - static_cast<T>(condition));
  return static_cast<T>((yes & mask) | (no & static_cast<T>(~mask)));
}

/// Elements of the size of T, an unsigned integer, whatever they mean.
template <class T>
bool select_row(const void* const* operands, unsigned moves, void* result, std::int64_t length) {
  const auto* condition = static_cast<const std::uint8_t*>(operands[0]);
  const T* a = static_cast<const T*>(operands[1]);
  const T* b = static_cast<const T*>(operands[2]);
  T* y = static_cast<T*>(result);
  if ((moves & 7u) == 7u) {
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < length; ++i) y[i] = select(condition[i], a[i], b[i]);
  } else if ((moves & 7u) == 5u) {
    const T yes = *a;
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < length; ++i) y[i] = select(condition[i], yes, b[i]);
  } else if ((moves & 7u) == 3u) {
    const T no = *b;
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < length; ++i) y[i] = select(condition[i], a[i], no);
  } else {
    const std::int64_t c = moves & 1u ? 1 : 0, s = moves & 2u ? 1 : 0, t = moves & 4u ? 1 : 0;
    for (std::int64_t i = 0; i < length; ++i) y[i] = condition[i * c] != 0 ? a[i * s] : b[i * t];
  }
  return true;
}

template <class To>
struct Convert {
  template <class From>
  To operator()(From x) const {
    return convert<To>(x);
  }
};

using functors::List;

constexpr std::size_t at(DType dtype) { return static_cast<std::size_t>(dtype); }

template <class F, class... T>
constexpr void fill_unary(Row* rows, List<T...>) {
  ((rows[at(dtype_of<T>)] = unary_row<F, T>), ...);
}
template <class F, class... T>
constexpr void fill_binary(Row* rows, List<T...>) {
  ((rows[at(dtype_of<T>)] = binary_row<F, T>), ...);
}
template <class From, class... To>
constexpr void fill_casts(Row* rows, List<To...>) {
  ((rows[at(dtype_of<To>)] = unary_row<Convert<To>, From>), ...);
}

template <class... F>
constexpr void fill_unary_ops(Row (*rows)[kRowDTypes], List<F...>) {
  static_assert(sizeof...(F) <= kMaxRowOps);
  (fill_unary<F>(*rows++, typename F::Types{}), ...);
}
template <class... F>
constexpr void fill_binary_ops(Row (*rows)[kRowDTypes], List<F...>) {
  static_assert(sizeof...(F) <= kMaxRowOps);
  (fill_binary<F>(*rows++, typename F::Types{}), ...);
}
template <class... T>
constexpr void fill_for_types(RowTable& table, List<T...> types) {
  // A bool is a byte of 0 or 1, but compilers find no vectors in bools.
  (fill_casts<std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>>(
       table.cast[at(dtype_of<T>)], types),
   ...);
  ((table.select[at(dtype_of<T>)] =
        sizeof(T) == 1
            ? select_row<std::uint8_t>
            : (sizeof(T) == 4 ? select_row<std::uint32_t> : select_row<std::uint64_t>)),
   ...);
}

constexpr RowTable make_table() {
  RowTable table{};
  fill_unary_ops(table.unary, functors::Unary{});
  fill_binary_ops(table.arithmetic, functors::Arithmetic{});
  fill_binary_ops(table.comparison, functors::Comparison{});
  fill_for_types(table, functors::AllTypes{});
  return table;
}

}  // namespace gradgraph::GRADGRAPH_ISA

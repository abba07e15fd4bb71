#pragma once

#include <algorithm>
#include <bit>
#include <tuple>
#include <type_traits>
#include <utility>

#include "core/convert.h"
#include "device/cpu/broadcast.h"
#include "device/cpu/elementwise/loop_list.h"
#include "device/cpu/elementwise/rare_operands.h"

/// The loops behind LoopTable. Included by one file per level of the instruction set, each with
/// compiler flags of its own and GRADGRAPH_ISA set to its name: everything here must have names
/// of its own per level, since the linker keeps only one of several functions with one name.
namespace gradgraph::GRADGRAPH_ISA {

template <class F, class T>
bool loop_with_rare(const T* x, bool moves, T* y, std::int64_t length) {
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

template <bool Moves, class T>
T pick(const T* operand, T fixed, std::int64_t i) {
  if constexpr (Moves)
    return operand[i];
  else
    return fixed;
}

/// Bit k of `Moving` says whether operand k moves.
template <unsigned Moving, class F, class Result, std::size_t... K, class... T>
void fill(std::index_sequence<K...>, Result* y, std::int64_t length, const T*... operands) {
  const auto run = [=, ... fixed = *operands] {
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < length; ++i)
      y[i] = F{}(pick<(Moving >> K & 1u) != 0>(operands, fixed, i)...);
  };
  run();
}

/// With operands and parameters of the types T.
template <class F, class... T>
struct Loop {
  using Result = std::invoke_result_t<F, T...>;
  static constexpr std::size_t kCount = sizeof...(T);
  static constexpr auto kAll = std::make_index_sequence<kCount>{};
  static constexpr std::size_t kParameters = functors::kParameters<F>;
  static constexpr std::size_t kMoving = kCount - kParameters;

  static bool run(const void* const* operands, unsigned moves, void* result,
                  std::int64_t length) {
    return run(kAll, operands, moves, static_cast<Result*>(result), length);
  }

 private:
  template <std::size_t... K>
  static bool run(std::index_sequence<K...> all, const void* const* operands, unsigned moves,
                  Result* y, std::int64_t length) {
    if constexpr (functors::HasRare<F, T...>)
      return loop_with_rare<F>(static_cast<const T*>(operands[K])..., (moves & 1u) != 0, y,
                               length);
    // Before the loop: the result may be one of the operands.
    const bool accepted = accepts(all, moves, length, static_cast<const T*>(operands[K])...);
    choose(all, moves & ((1u << kMoving) - 1), y, length, static_cast<const T*>(operands[K])...);
    return accepted;
  }

  template <std::size_t... K>
  static bool accepts(std::index_sequence<K...>, unsigned moves, std::int64_t length,
                      const T*... operands) {
    bool refused = false;
    if constexpr (requires { F::refusal; } && (std::is_integral_v<T> || ...))
      for (std::int64_t i = 0; i < length; ++i)
        refused |= F::refuses(operands[moves >> K & 1u ? i : 0]...);
    return !refused;
  }

  template <std::size_t... K>
  static void choose(std::index_sequence<K...> all, unsigned moves, Result* y,
                     std::int64_t length, const T*... operands) {
    constexpr unsigned kEach = (1u << kMoving) - 1;
    if (moves == kEach) return fill<kEach, F>(all, y, length, operands...);
    if (moves == 0) {
      std::fill_n(y, length, F{}(*operands...));
    } else if constexpr (kMoving == 2) {
      moves == 1 ? fill<1, F>(all, y, length, operands...)
                 : fill<2, F>(all, y, length, operands...);
    } else if constexpr (kMoving == 3) {
      if (moves == 1) return fill<1, F>(all, y, length, operands...);
      if (moves == 3) return fill<3, F>(all, y, length, operands...);
      if (moves == 5) return fill<5, F>(all, y, length, operands...);
      for (std::int64_t i = 0; i < length; ++i) y[i] = F{}(operands[moves >> K & 1u ? i : 0]...);
    }
  }
};

template <class To>
struct Convert {
  template <class From>
  To operator()(From x) const {
    return convert<To>(x);
  }
};

using functors::List;

constexpr std::size_t at(DType dtype) { return static_cast<std::size_t>(dtype); }

template <class T, std::size_t>
using Same = T;

/// An unsigned integer of so many bytes.
template <std::size_t Bytes>
using BitsOf =
    std::tuple_element_t<std::countr_zero(Bytes),
                         std::tuple<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t>>;

template <class F, class T, std::size_t... K>
constexpr ElementLoop loop_of(std::index_sequence<K...>) {
  return Loop<F, Same<T, K>...>::run;
}
template <class F, class T>
constexpr ElementLoop loop_of() {
  if constexpr (requires { F::kChooses; }) {
    return Loop<F, std::uint8_t, BitsOf<sizeof(T)>, BitsOf<sizeof(T)>>::run;
  } else {
    return loop_of<F, T>(std::make_index_sequence<functors::kOperands<F, T>>{});
  }
}

template <class F, class... T>
constexpr void fill_op(ElementLoop* loops, List<T...>) {
  ((loops[at(dtype_of<T>)] = loop_of<F, T>()), ...);
}
template <class From, class... To>
constexpr void fill_casts(ElementLoop* loops, List<To...>) {
  // A bool is a byte of 0 or 1, but compilers find no vectors in bools.
  using Operand = std::conditional_t<std::is_same_v<From, bool>, std::uint8_t, From>;
  ((loops[at(dtype_of<To>)] = Loop<Convert<To>, Operand>::run), ...);
}

template <class... F, class... T>
constexpr LoopTable make_table(List<F...>, List<T...> types) {
  LoopTable table{};
  auto* loops = table.of_op;
  (fill_op<F>(*loops++, typename F::Types{}), ...);
  (fill_casts<T>(table.cast[at(dtype_of<T>)], types), ...);
  return table;
}
constexpr LoopTable make_table() {
  return make_table(functors::Elementwise{}, functors::StoredTypes{});
}

}  // namespace gradgraph::GRADGRAPH_ISA

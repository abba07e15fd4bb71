#pragma once

#include <utility>

#include "device/cpu/broadcast.h"
#include "device/cpu/elementwise/rare_operands.h"
#include "device/cpu/fused/links.h"
#include "device/cpu/isa/upper_halves.h"
#include "device/cpu/isa/vector_of.h"
#include "device/shared/scalar_functors.h"

/// The code behind LinkTable. Included by one file per level of the instruction set, as
/// loops_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

inline constexpr std::size_t kLineVectors = 2;
/// As many as calling conventions pass in registers.
inline constexpr std::size_t kLinkVectors = kLinkLines * kLineVectors;

template <class T, class Indices = std::make_index_sequence<kLinkVectors>>
struct Links;

template <class T, std::size_t... I>
struct Links<T, std::index_sequence<I...>> {
  using Vector = typename VectorOf<T>::Type;
  template <std::size_t>
  using Each = Vector;
  using Code = void (*)(const Link*, std::ptrdiff_t, Each<I>...);

  static constexpr int kLanes = VectorOf<T>::kLanes;

  template <class F, class... Vectors>
  [[gnu::always_inline]] static Vector apply(Vectors... operands) {
    return apply<F>(std::make_index_sequence<sizeof...(Vectors)>{}, operands...);
  }
  template <class F, std::size_t... K, class... Vectors>
  [[gnu::always_inline]] static Vector apply(std::index_sequence<K...>, Vectors... operands) {
    T x[sizeof...(K)][kLanes], y[kLanes];
    (__builtin_memcpy(x[K], &operands, sizeof operands), ...);
    GRADGRAPH_VECTORIZE
    for (int i = 0; i < kLanes; ++i) y[i] = F{}(x[K][i]...);
    if constexpr (functors::HasRare<F, Same<T, K>...>)
      if (any_rare<F>(x[0], kLanes)) compute_rare<F>(x[0], y, kLanes);
    Vector result;
    __builtin_memcpy(&result, y, sizeof result);
    return result;
  }
  template <class U, std::size_t>
  using Same = U;
  /// Of a functor that is too long to be there eight times.
  template <class F, class... Vectors>
  [[gnu::noinline]] static Vector apply_apart(Vectors... operands) {
    return apply<F>(operands...);
  }
  template <class F, class... Vectors>
  [[gnu::always_inline]] static Vector combine(Vectors... operands) {
    if constexpr (requires { F::kLong; })
      return apply_apart<F>(operands...);
    else
      return apply<F>(operands...);
  }

  static char* place(const Link* link, std::ptrdiff_t block, std::size_t vector) {
    const auto line = static_cast<std::ptrdiff_t>(vector / kLineVectors);
    return link->memory + block * link->block_step + line * link->line_step +
           vector % kLineVectors * kVectorBytes;
  }
  static Vector moving(const Link* link, std::ptrdiff_t block, std::size_t vector) {
    Vector x;
    __builtin_memcpy(&x, place(link, block, vector), kVectorBytes);
    return x;
  }
  static Vector fixed(const Link* link) {
    T value;
    __builtin_memcpy(&value, link->memory, sizeof value);
    return value - Vector{};  // a sum would make -0 a 0
  }

  [[gnu::always_inline]] static void go_on(const Link* link, std::ptrdiff_t block, Each<I>... x) {
    return reinterpret_cast<Code>(link[1].code)(link + 1, block, x...);
  }

  static void load(const Link* link, std::ptrdiff_t block, Each<I>...) {
    return go_on(link, block, moving(link, block, I)...);
  }
  static void load_fixed(const Link* link, std::ptrdiff_t block, Each<I>...) {
    const Vector x = fixed(link);
    return go_on(link, block, ((void)I, x)...);
  }
  static void store(const Link* link, std::ptrdiff_t block, Each<I>... x) {
    (__builtin_memcpy(place(link, block, I), &x, kVectorBytes), ...);
    return go_on(link, block, x...);
  }
  static void end(const Link*, std::ptrdiff_t, Each<I>...) {}

  template <class F>
  static void unary(const Link* link, std::ptrdiff_t block, Each<I>... x) {
    return go_on(link, block, combine<F>(x)...);
  }
  template <class F, bool OtherLeft, bool OtherFixed>
  static void binary(const Link* link, std::ptrdiff_t block, Each<I>... x) {
    if constexpr (OtherFixed) {
      const Vector other = fixed(link);
      return go_on(link, block, (OtherLeft ? combine<F>(other, x) : combine<F>(x, other))...);
    } else {
      return go_on(link, block,
                   (OtherLeft ? combine<F>(moving(link, block, I), x)
                              : combine<F>(x, moving(link, block, I)))...);
    }
  }
  static Vector either(const Link* link, std::ptrdiff_t block, std::size_t vector) {
    return link->block_step == Link::kFixed ? fixed(link) : moving(link, block, vector);
  }
  /// Operand `Place` travels, the others are where links tell.
  template <class F, std::size_t Place, std::size_t... K>
  [[gnu::always_inline]] static Vector gather(std::index_sequence<K...>, const Link* link,
                                              std::ptrdiff_t block, std::size_t vector,
                                              Vector x) {
    return combine<F>(
        (K == Place ? x : either(link + (K > Place ? K - 1 : K), block, vector))...);
  }
  template <class F, std::size_t Place, std::size_t Count>
  static void many(const Link* link, std::ptrdiff_t block, Each<I>... x) {
    return go_on(link + (Count - 2), block,
                 gather<F, Place>(std::make_index_sequence<Count>{}, link, block, I, x)...);
  }

  static void run(const Link* links, std::int64_t blocks) {
    const auto first = reinterpret_cast<Code>(links->code);
    for (std::ptrdiff_t block = 0; block < blocks; ++block)
      first(links, block, ((void)I, Vector{})...);
    clear_upper_halves();
  }

  static Link::Code code(Code function) { return reinterpret_cast<Link::Code>(function); }

  template <class... F>
  static void fill(LinkTable::Codes& codes, functors::List<F...>) {
    codes.load = code(load);
    codes.load_fixed = code(load_fixed);
    codes.store = code(store);
    codes.end = code(end);
    codes.run = run;
    auto* links = codes.of_op;
    (fill_op<F>(*links++, typename F::Types{}), ...);
  }
  template <class F, class... Types>
  static void fill_op(OpLinks& links, functors::List<Types...>) {
    if constexpr ((std::is_same_v<T, Types> || ...) && !requires { F::kChooses; })
      fill_op<F>(links, std::make_index_sequence<functors::kOperands<F, T>>{});
  }
  template <class F, std::size_t... K>
  static void fill_op(OpLinks& links, std::index_sequence<K...>) {
    // A condition travels in no vector.
    if constexpr (!std::is_same_v<std::invoke_result_t<F, Same<T, K>...>, T>) {
      return;
    } else if constexpr (sizeof...(K) == 1) {
      links.code[0][0] = links.code[0][1] = code(unary<F>);
    } else if constexpr (sizeof...(K) == 2 && functors::kParameters<F> == 0) {
      links.code[0][false] = code(binary<F, false, false>);
      links.code[0][true] = code(binary<F, false, true>);
      links.code[1][false] = code(binary<F, true, false>);
      links.code[1][true] = code(binary<F, true, true>);
    } else {
      constexpr std::size_t kMoving = sizeof...(K) - functors::kParameters<F>;
      ((K < kMoving ? links.code[K][0] = links.code[K][1] = code(many<F, K, sizeof...(K)>)
                    : nullptr),
       ...);
    }
  }
};

inline LinkTable make_links() {
  LinkTable table{};
  table.line_bytes = kLineVectors * kVectorBytes;
  Links<float>::fill(table.codes[0], functors::Elementwise{});
  Links<double>::fill(table.codes[1], functors::Elementwise{});
  return table;
}

}  // namespace gradgraph::GRADGRAPH_ISA

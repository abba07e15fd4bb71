#pragma once

#include <utility>

#include "device/cpu/broadcast.h"
#include "device/cpu/elementwise/rare_operands.h"
#include "device/cpu/fused/links.h"
#include "device/cpu/isa/upper_halves.h"
#include "device/shared/scalar_functors.h"

/// The code behind LinkTable. Included by one file per level of the instruction set, as
/// rows_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

#if defined(__AVX512F__)
inline constexpr std::size_t kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr std::size_t kVectorBytes = 32;
#else
inline constexpr std::size_t kVectorBytes = 16;
#endif
inline constexpr std::size_t kLineVectors = 2;
/// As many as calling conventions pass in registers.
inline constexpr std::size_t kLinkVectors = kLinkLines * kLineVectors;

template <class T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
};

template <class T, class Indices = std::make_index_sequence<kLinkVectors>>
struct Links;

template <class T, std::size_t... I>
struct Links<T, std::index_sequence<I...>> {
  using Vector = typename VectorOf<T>::Type;
  template <std::size_t>
  using Each = Vector;
  using Code = void (*)(const Link*, std::ptrdiff_t, Each<I>...);

  static constexpr int kLanes = kVectorBytes / sizeof(T);

  template <class F>
  [[gnu::always_inline]] static Vector apply(Vector x) {
    T a[kLanes], y[kLanes];
    __builtin_memcpy(a, &x, sizeof x);
    GRADGRAPH_VECTORIZE
    for (int i = 0; i < kLanes; ++i) y[i] = F{}(a[i]);
    if constexpr (HasRare<F, T>)
      if (any_rare<F>(a, kLanes)) compute_rare<F>(a, y, kLanes);
    __builtin_memcpy(&x, y, sizeof x);
    return x;
  }
  template <class F>
  [[gnu::always_inline]] static Vector apply(Vector x, Vector other) {
    T a[kLanes], b[kLanes], y[kLanes];
    __builtin_memcpy(a, &x, sizeof x);
    __builtin_memcpy(b, &other, sizeof x);
    GRADGRAPH_VECTORIZE
    for (int i = 0; i < kLanes; ++i) y[i] = F{}(a[i], b[i]);
    __builtin_memcpy(&x, y, sizeof x);
    return x;
  }
  /// Of a functor that is too long to be there eight times.
  template <class F>
  [[gnu::noinline]] static Vector apply_apart(Vector x, Vector other) {
    return apply<F>(x, other);
  }
  template <class F>
  [[gnu::always_inline]] static Vector combine(Vector x, Vector other) {
    if constexpr (requires { F::kLong; })
      return apply_apart<F>(x, other);
    else
      return apply<F>(x, other);
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
    return go_on(link, block, apply<F>(x)...);
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

  static void run(const Link* links, std::int64_t blocks) {
    const auto first = reinterpret_cast<Code>(links->code);
    for (std::ptrdiff_t block = 0; block < blocks; ++block)
      first(links, block, ((void)I, Vector{})...);
    clear_upper_halves();
  }

  static Link::Code code(Code function) { return reinterpret_cast<Link::Code>(function); }

  template <class... F, class... G>
  static void fill(LinkTable::Codes& codes, functors::List<F...>, functors::List<G...>) {
    codes.load = code(load);
    codes.load_fixed = code(load_fixed);
    codes.store = code(store);
    codes.end = code(end);
    codes.run = run;
    std::size_t i = 0;
    ((codes.unary[i++] = unary_code<F>(typename F::Types{})), ...);
    i = 0;
    (fill_binary<G>(codes.arithmetic[i++]), ...);
  }
  template <class F, class... Types>
  static Link::Code unary_code(functors::List<Types...>) {
    if constexpr ((std::is_same_v<T, Types> || ...)) return code(unary<F>);
    return nullptr;
  }
  template <class F>
  static void fill_binary(Link::Code (&codes)[2][2]) {
    codes[false][false] = code(binary<F, false, false>);
    codes[false][true] = code(binary<F, false, true>);
    codes[true][false] = code(binary<F, true, false>);
    codes[true][true] = code(binary<F, true, true>);
  }
};

inline LinkTable make_links() {
  LinkTable table{};
  table.line_bytes = kLineVectors * kVectorBytes;
  Links<float>::fill(table.codes[0], functors::Unary{}, functors::Arithmetic{});
  Links<double>::fill(table.codes[1], functors::Unary{}, functors::Arithmetic{});
  return table;
}

}  // namespace gradgraph::GRADGRAPH_ISA

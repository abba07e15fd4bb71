#include <algorithm>
#include <array>
#include <atomic>

#include "core/convert.h"
#include "device/cpu/broadcast.h"
#include "device/cpu/kernels.h"
#include "device/cpu/parallel.h"
#include "device/scalar_functors.h"

namespace gradgraph {
namespace {

using std::int64_t;

/// Rows are the unit of work: plain functions on untyped memory, so that the loops around them
/// exist once and not for every op and dtype.
using UnaryRow = void (*)(const void* x, void* y, int64_t length);

/// `moves` says which operands have an element for each of the output's; the others stay the
/// same along the row. Returns false when the functor refuses an operand.
struct Moves {
  bool a, b;
};
using BinaryRow = bool (*)(const void* a, const void* b, void* y, int64_t length, Moves moves);

template <class F, class T>
void unary_row(const void* x_row, void* y_row, int64_t length) {
  using Result = std::invoke_result_t<F, T>;
  const T* x = static_cast<const T*>(x_row);
  Result* y = static_cast<Result*>(y_row);
  const F functor;
  GRADGRAPH_VECTORIZE
  for (int64_t i = 0; i < length; ++i) y[i] = functor(x[i]);
}

template <class F, class T>
bool accepts(const T* a, const T* b, int64_t length, Moves moves) {
  bool refused = false;
  if constexpr (std::is_integral_v<T> && requires { F::refusal; })
    for (int64_t i = 0; i < length; ++i)
      refused |= F::refuses(a[moves.a ? i : 0], b[moves.b ? i : 0]);
  return !refused;
}

template <class F, class T>
bool binary_row(const void* a_row, const void* b_row, void* y_row, int64_t length, Moves moves) {
  using Result = std::invoke_result_t<F, T, T>;
  const T* a = static_cast<const T*>(a_row);
  const T* b = static_cast<const T*>(b_row);
  Result* y = static_cast<Result*>(y_row);
  const F functor;
  // Before the loop: the output may be one of the operands.
  const bool accepted = accepts<F>(a, b, length, moves);
  if (moves.a && moves.b) {
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < length; ++i) y[i] = functor(a[i], b[i]);
  } else if (moves.a) {
    const T fixed = *b;
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < length; ++i) y[i] = functor(a[i], fixed);
  } else if (moves.b) {
    const T fixed = *a;
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < length; ++i) y[i] = functor(fixed, b[i]);
  } else {
    std::fill_n(y, length, functor(*a, *b));
  }
  return accepted;
}

/// Elements of T's size, whatever they mean. `steps` of condition, a and b are 1 or 0.
template <class T>
void select_row(const bool* condition, const void* a_row, const void* b_row, void* y_row,
                int64_t length, const std::array<int64_t, 3>& steps) {
  const T* a = static_cast<const T*>(a_row);
  const T* b = static_cast<const T*>(b_row);
  T* y = static_cast<T*>(y_row);
  if (steps == std::array<int64_t, 3>{1, 1, 1}) {
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < length; ++i) {
      const T yes = a[i], no = b[i];
      y[i] = condition[i] ? yes : no;
    }
  } else if (steps == std::array<int64_t, 3>{1, 0, 1}) {
    const T yes = *a;
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < length; ++i) {
      const T no = b[i];
      y[i] = condition[i] ? yes : no;
    }
  } else if (steps == std::array<int64_t, 3>{1, 1, 0}) {
    const T no = *b;
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < length; ++i) {
      const T yes = a[i];
      y[i] = condition[i] ? yes : no;
    }
  } else {
    for (int64_t i = 0; i < length; ++i)
      y[i] = condition[i * steps[0]] ? a[i * steps[1]] : b[i * steps[2]];
  }
}

const char* at(const void* memory, int64_t offset, std::size_t size) {
  return static_cast<const char*>(memory) + offset * static_cast<int64_t>(size);
}
char* at(void* memory, int64_t offset, std::size_t size) {
  return static_cast<char*>(memory) + offset * static_cast<int64_t>(size);
}

Kernel unary_kernel(const KernelSite& site, UnaryRow row) {
  const int64_t count = site.output_shape().num_elements();
  const int threads = site.threads();
  const std::size_t x_size = size_of(site.input_dtype(0)), y_size = size_of(site.output_dtype());
  return {[=](const KernelArgs& args) {
    parallel_for(count, kParallelGrain, threads, [&](int64_t begin, int64_t end) {
      row(at(args.inputs[0], begin, x_size), at(args.outputs[0], begin, y_size), end - begin);
    });
  }};
}

Kernel binary_kernel(const KernelSite& site, BinaryRow row, const char* refusal) {
  const int64_t count = site.output_shape().num_elements();
  const int threads = site.threads();
  const std::size_t size = size_of(site.input_dtype(0)), y_size = size_of(site.output_dtype());
  const Broadcast<2> walk(site.output_shape(), {site.input_shape(0), site.input_shape(1)});
  const Moves moves = {walk.inner_steps()[0] == 1, walk.inner_steps()[1] == 1};
  return {[=](const KernelArgs& args) {
    std::atomic<bool> refused{false};
    parallel_for(count, kParallelGrain, threads, [&](int64_t begin, int64_t end) {
      walk.for_rows(begin, end, [&](int64_t position, const auto& from, int64_t length) {
        if (!row(at(args.inputs[0], from[0], size), at(args.inputs[1], from[1], size),
                 at(args.outputs[0], position, y_size), length, moves))
          refused.store(true, std::memory_order_relaxed);
      });
    });
    if (refused.load(std::memory_order_relaxed)) throw KernelError(refusal);
  }};
}

Kernel where_kernel(const KernelSite& site) {
  const int64_t count = site.output_shape().num_elements();
  const int threads = site.threads();
  const std::size_t size = size_of(site.output_dtype());
  const auto row = size == 1   ? select_row<std::uint8_t>
                   : size == 4 ? select_row<std::uint32_t>
                               : select_row<std::uint64_t>;
  const Broadcast<3> walk(site.output_shape(),
                          {site.input_shape(0), site.input_shape(1), site.input_shape(2)});
  return {[=](const KernelArgs& args) {
    parallel_for(count, kParallelGrain, threads, [&](int64_t begin, int64_t end) {
      walk.for_rows(begin, end, [&](int64_t position, const auto& from, int64_t length) {
        row(args.input<bool>(0) + from[0], at(args.inputs[1], from[1], size),
            at(args.inputs[2], from[2], size), at(args.outputs[0], position, size), length,
            walk.inner_steps());
      });
    });
  }};
}

template <class To>
struct Convert {
  template <class From>
  To operator()(From x) const {
    return convert<To>(x);
  }
};

template <class From>
Kernel cast_kernel(const KernelSite& site) {
  return unary_kernel(site, visit_dtype(site.output_dtype(), []<class To>() -> UnaryRow {
                        return unary_row<Convert<To>, From>;
                      }));
}

template <class F, class... T>
void add_unary(KernelRegistry& registry, functors::List<T...>) {
  (registry.add(F::op, kCpu, {dtype_of<T>},
                [](const KernelSite& site) { return unary_kernel(site, unary_row<F, T>); }),
   ...);
}
template <class... F>
void add_unary_ops(KernelRegistry& registry, functors::List<F...>) {
  (add_unary<F>(registry, typename F::Types{}), ...);
}

template <class F, class... T>
void add_binary(KernelRegistry& registry, functors::List<T...>) {
  const char* refusal = "";
  if constexpr (requires { F::refusal; }) refusal = F::refusal;
  (registry.add(F::op, kCpu, {dtype_of<T>},
                [refusal](const KernelSite& site) {
                  return binary_kernel(site, binary_row<F, T>, refusal);
                }),
   ...);
}
template <class... F>
void add_binary_ops(KernelRegistry& registry, functors::List<F...>) {
  (add_binary<F>(registry, typename F::Types{}), ...);
}

template <class... From>
void add_casts(KernelRegistry& registry, functors::List<From...>) {
  (registry.add("cast", kCpu, {dtype_of<From>}, cast_kernel<From>), ...);
}

}  // namespace

void register_elementwise_kernels(KernelRegistry& registry) {
  add_unary_ops(registry, functors::Unary{});
  add_binary_ops(registry, functors::Arithmetic{});
  add_binary_ops(registry, functors::Comparison{});
  add_casts(registry, functors::AllTypes{});
  registry.add("where", kCpu, {float32, float64, int32, int64, uint8, boolean}, where_kernel);
}

}  // namespace gradgraph

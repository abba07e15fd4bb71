#pragma once

#include <cstring>

#include "core/convert.h"
#include "device/cuda/elementwise/program_code.h"
#include "device/cuda/issue.h"

/// Carries out the steps of a ProgramCode. Values are words of 4 bytes where all fit, else of 8;
/// each thread has its registers for several elements at once, so that what a step is has to be
/// found out once for all of them.
namespace gradgraph::cuda {

inline constexpr int kProgramThreads = 128;

/// One thread's registers, in shared memory: [register][element][thread].
template <class Word, int kElements>
class Registers {
 public:
  __device__ explicit Registers(Word* shared) : own_(shared + threadIdx.x) {}
  template <class T>
  __device__ T get(int reg, int element) const {
    const Word word = own_[(reg * kElements + element) * kProgramThreads];
    T value;
    memcpy(static_cast<void*>(&value), &word, sizeof(T));
    return value;
  }
  template <class T>
  __device__ void set(int reg, int element, T value) {
    Word word = 0;
    memcpy(&word, &value, sizeof(T));
    own_[(reg * kElements + element) * kProgramThreads] = word;
  }

 private:
  Word* own_;
};

/// Where a tile's elements are; those from `count` on are not there.
struct Tile {
  std::int64_t begin, count;
  __device__ std::int64_t index(int element) const {
    return begin + element * kProgramThreads + static_cast<int>(threadIdx.x);
  }
};

__device__ inline std::int64_t view_offset(const ProgramCode& code, int view,
                                           std::int64_t index) {
  std::int64_t offset = 0;
  for (int axis = 0; axis + 1 < code.num_axes; ++axis) {
    const std::int64_t rest = index / code.extents[axis];
    offset += (index - rest * code.extents[axis]) * code.strides[view][axis];
    index = rest;
  }
  return offset + index * code.strides[view][code.num_axes - 1];
}
__device__ inline std::int64_t input_offset(const ProgramCode& code, int input,
                                            std::int64_t index) {
  const int reading = code.reading[input];
  return reading == kOwnIndex ? index
         : reading == kAtZero ? 0
                              : view_offset(code, reading, index);
}

/// Carries out one step for all elements of a tile. The code of the step is looked for by halving
/// [kFirst, kLast), which all threads of a block do alike.
template <class Word, int kElements>
class Interpreter {
 public:
  __device__ Interpreter(const ProgramCode& code, Word* shared, const Tile& tile)
      : code_(code), registers_(shared), tile_(tile) {}

  /// Returns whether an operand was refused.
  __device__ bool run() {
    bool refused = false;
    for (int i = 0; i < code_.num_steps; ++i) refused |= run(code_.steps[i]);
    return refused;
  }

 private:
  template <class... T>
  using List = functors::List<T...>;
  using Stored = functors::StoredTypes;

  __device__ bool run(const Step& step) {
    if (step.code < kLoad) return calculate<0, codes::All::size>(step);
    if (step.code < kStore)
      load(step, static_cast<DType>(step.code - kLoad), Stored{});
    else if (step.code < kConvert)
      store(step, static_cast<DType>(step.code - kStore), Stored{});
    else if (step.code < kConstant)
      convert_from(step, static_cast<DType>((step.code - kConvert) / 8), Stored{});
    else
      for (int e = 0; e < kElements; ++e)
        registers_.set(step.result, e, static_cast<Word>(code_.constants[step.index]));
    return false;
  }

  template <class T>
  static constexpr bool kFits = sizeof(T) <= sizeof(Word);

  template <class... T>
  __device__ void load(const Step& step, DType dtype, List<T...>) {
    static_cast<void>(((dtype == dtype_of<T> && (load<T>(step), true)) || ...));
  }
  template <class T>
  __device__ void load(const Step& step) {
    if constexpr (kFits<T>) {
      const T* from = static_cast<const T*>(code_.inputs[step.index]);
      for (int e = 0; e < kElements; ++e) {
        const std::int64_t index = tile_.index(e);
        registers_.set(step.result, e,
                       index < tile_.count ? from[input_offset(code_, step.index, index)] : T{});
      }
    }
  }

  template <class... T>
  __device__ void store(const Step& step, DType dtype, List<T...>) {
    static_cast<void>(((dtype == dtype_of<T> && (store<T>(step), true)) || ...));
  }
  template <class T>
  __device__ void store(const Step& step) {
    if constexpr (kFits<T>) {
      T* to = static_cast<T*>(code_.outputs[step.index]);
      for (int e = 0; e < kElements; ++e)
        if (const std::int64_t index = tile_.index(e); index < tile_.count)
          to[index] = registers_.template get<T>(step.operands[0], e);
    }
  }

  template <class... T>
  __device__ void convert_from(const Step& step, DType from, List<T...> types) {
    const auto to = static_cast<DType>((step.code - kConvert) % 8);
    static_cast<void>(((from == dtype_of<T> && (convert_to<T>(step, to, types), true)) || ...));
  }
  template <class From, class... To>
  __device__ void convert_to(const Step& step, DType to, List<To...>) {
    static_cast<void>(((to == dtype_of<To> && (convert<From, To>(step), true)) || ...));
  }
  template <class From, class To>
  __device__ void convert(const Step& step) {
    if constexpr (kFits<From> && kFits<To>)
      for (int e = 0; e < kElements; ++e)
        registers_.set(
            step.result, e,
            gradgraph::convert<To>(registers_.template get<From>(step.operands[0], e)));
  }

  template <int kFirst, int kLast>
  __device__ bool calculate(const Step& step) {
    if constexpr (kLast - kFirst > 1) {
      constexpr int kMiddle = (kFirst + kLast) / 2;
      return step.code < kMiddle ? calculate<kFirst, kMiddle>(step)
                                 : calculate<kMiddle, kLast>(step);
    } else {
      using A = codes::All::At<kFirst>;
      return calculate<typename A::F, typename A::T>(step);
    }
  }
  template <class F, class T>
  __device__ bool calculate(const Step& step) {
    if constexpr (std::is_void_v<T>)
      return choose(step);
    else if constexpr (!kFits<T>)
      return false;
    else
      return calculate<F, T>(step, std::make_index_sequence<functors::kOperands<F, T>>{});
  }
  __device__ bool choose(const Step& step) {
    for (int e = 0; e < kElements; ++e)
      registers_.set(
          step.result, e,
          registers_.template get<Word>(
              step.operands[registers_.template get<bool>(step.operands[0], e) ? 1 : 2], e));
    return false;
  }
  template <class F, class T, std::size_t... K>
  __device__ bool calculate(const Step& step, std::index_sequence<K...>) {
    bool refused = false;
    for (int e = 0; e < kElements; ++e) {
      const T operands[] = {registers_.template get<T>(step.operands[K], e)...};
      if constexpr (requires { F::refusal; })
        refused |= tile_.index(e) < tile_.count && F::refuses(operands[K]...);
      registers_.set(step.result, e, value<F>(operands[K]...));
    }
    return refused;
  }
  template <class F, class... T>
  __device__ static auto value(T... operands) {
    if constexpr (functors::HasRare<F, T...>) {
      if (F::is_rare(operands...)) return F{}.of_rare(operands...);
    }
    return F{}(operands...);
  }

  const ProgramCode& code_;
  Registers<Word, kElements> registers_;
  Tile tile_;
};

/// `message` says what is wrong with operands that are refused.
template <class Word, int kElements>
__global__ void __launch_bounds__(kProgramThreads)
    run_program(const __grid_constant__ ProgramCode code, Stopper stopper, const char* message,
                RefusalSlot refusal) {
  if (is_stopped(stopper)) return;
  constexpr int kTile = kElements * kProgramThreads;
  bool refused = false;
  for (std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kTile; begin < code.count;
       begin += static_cast<std::int64_t>(gridDim.x) * kTile)
    refused |=
        Interpreter<Word, kElements>(code, dynamic_shared<Word>(), {begin, code.count}).run();
  if (refused) refuse(refusal, {.message = message});
}

}  // namespace gradgraph::cuda

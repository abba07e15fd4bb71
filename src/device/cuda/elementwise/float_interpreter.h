#pragma once

#include "device/cuda/elementwise/float_code.h"
#include "device/cuda/issue.h"
#include "device/cuda/quads.h"

/// Carries out the steps of a FloatCode for four elements of a thread at a time.
namespace gradgraph::cuda {

/// Of each set in turn its own inputs and outputs; what all of them read is in the FloatCode.
struct FloatSetsCode : FloatCode {
  static constexpr int kMaxSetInputs = 128, kMaxSetOutputs = 96;
  const void* set_inputs[kMaxSetInputs] = {};
  void* set_outputs[kMaxSetOutputs] = {};
  std::int32_t inputs_of_set = 0, outputs_of_set = 0;

  /// Those of the block's set, which is its y.
  __device__ const void* input(int i) const {
    return i < inputs_of_set ? set_inputs[static_cast<int>(blockIdx.y) * inputs_of_set + i]
                             : inputs[i];
  }
  __device__ void* output(int i) const {
    return set_outputs[static_cast<int>(blockIdx.y) * outputs_of_set + i];
  }
};
static_assert(sizeof(FloatSetsCode) <= 4000, "arguments of a kernel take 4096 bytes at most");

/// kHalves: there may be values of 16 bits.
template <bool kHalves, class Code>
__device__ float element(const Code& code, int input, int index) {
  const void* const from = code.input(input);
  const Stored stored = code.inputs_stored[input];
  if (stored == Stored::byte)
    return static_cast<float>(static_cast<const std::uint8_t*>(from)[index]);
  if constexpr (kHalves) {
    if (stored == Stored::float16)
      return static_cast<float>(static_cast<const Half*>(from)[index]);
    if (stored == Stored::bfloat16)
      return static_cast<float>(static_cast<const BFloat16*>(from)[index]);
  }
  return static_cast<const float*>(from)[index];
}
/// Those of the indices start, start + step, ...
template <bool kHalves, class Code>
__device__ Quad<float> elements(const Code& code, int input, int start, int step) {
  Quad<float> quad;
  GRADGRAPH_UNROLL
  for (int i = 0; i < 4; ++i) quad.values[i] = element<kHalves>(code, input, start + i * step);
  return quad;
}
/// Four that lie together, of T.
template <class T>
__device__ Quad<float> quad_of(const void* from, int first) {
  const auto quad = *reinterpret_cast<const Quad<T>*>(static_cast<const T*>(from) + first);
  Quad<float> wide;
  GRADGRAPH_UNROLL
  for (int i = 0; i < 4; ++i) wide.values[i] = static_cast<float>(quad.values[i]);
  return wide;
}
template <class T>
__device__ void put_quad(const Quad<float>& quad, void* to, int first) {
  Quad<T> narrow;
  GRADGRAPH_UNROLL
  for (int i = 0; i < 4; ++i) narrow.values[i] = T(quad.values[i]);
  *reinterpret_cast<Quad<T>*>(static_cast<T*>(to) + first) = narrow;
}
template <bool kHalves, class Code>
__device__ void put_element(const Code& code, int output, int index, float value) {
  void* const to = code.output(output);
  if constexpr (kHalves) {
    const Stored stored = code.outputs_stored[output];
    if (stored == Stored::float16) static_cast<Half*>(to)[index] = Half(value);
    if (stored == Stored::bfloat16) static_cast<BFloat16*>(to)[index] = BFloat16(value);
    if (stored != Stored::float32) return;
  }
  static_cast<float*>(to)[index] = value;
}

/// Four elements that lie together, of which `count` are there.
struct Line {
  int first, count;

  __device__ int own(int i) const { return first + i; }
  __device__ int viewed(const FloatCode& code, int view, int i) const {
    int index = first + i, offset = 0;
    for (int axis = 0; axis + 1 < code.num_axes; ++axis) {
      const auto [rest, at] = code.extents[axis](index);
      offset += at * code.strides[view][axis];
      index = rest;
    }
    return offset + index * code.strides[view][code.num_axes - 1];
  }
  /// Whether all are there and each input's can be loaded at once.
  __device__ bool is_whole(const FloatCode& code) const {
    return code.is_aligned && count == 4 && (code.num_axes == 0 || code.four_share_row);
  }
  template <bool kHalves, class Code>
  __device__ Quad<float> bring(const Code& code, int input) const {
    const int view = code.reading[input];
    if (view != kOwnIndex)
      return elements<kHalves>(code, input, viewed(code, view, 0), code.strides[view][0]);
    const void* const from = code.input(input);
    const Stored stored = code.inputs_stored[input];
    if (stored == Stored::byte) return quad_of<std::uint8_t>(from, first);
    if constexpr (kHalves) {
      if (stored == Stored::float16) return quad_of<Half>(from, first);
      if (stored == Stored::bfloat16) return quad_of<BFloat16>(from, first);
    }
    return quad_of<float>(from, first);
  }
  template <bool kHalves, class Code>
  __device__ void send(const Code& code, int output, const Quad<float>& quad) const {
    void* const to = code.output(output);
    if constexpr (kHalves) {
      const Stored stored = code.outputs_stored[output];
      if (stored == Stored::float16) return put_quad<Half>(quad, to, first);
      if (stored == Stored::bfloat16) return put_quad<BFloat16>(quad, to, first);
    }
    put_quad<float>(quad, to, first);
  }
};

/// What is there of an input, one element after the other.
template <bool kHalves, class Code, class At>
__device__ Quad<float> bring_some(const Code& code, int input, const At& at) {
  const int view = code.reading[input];
  Quad<float> quad{};
  GRADGRAPH_UNROLL
  for (int i = 0; i < 4; ++i)
    if (i < at.count)
      quad.values[i] =
          element<kHalves>(code, input, view == kOwnIndex ? at.own(i) : at.viewed(code, view, i));
  return quad;
}

/// `third` gives the third operand, which few have.
template <class F, class Third>
__device__ void calculate(const Quad<float>& a, const Quad<float>& b, const Third& third,
                          Quad<float>& result) {
  Quad<float> c{};
  if constexpr (functors::kOperands<F, float> == 3) c = third();
  GRADGRAPH_UNROLL
  for (int i = 0; i < 4; ++i)
    if constexpr (functors::kOperands<F, float> == 1)
      result.values[i] = F{}(a.values[i]);
    else if constexpr (functors::kOperands<F, float> == 2)
      result.values[i] = F{}(a.values[i], b.values[i]);
    else
      result.values[i] = F{}(a.values[i], b.values[i], c.values[i]);
}
template <class... F, std::size_t... I, class Third>
__device__ Quad<float> calculate(functors::List<F...>, std::index_sequence<I...>, int code,
                                 const Quad<float>& a, const Quad<float>& b, const Third& third) {
  Quad<float> result = a;
  static_cast<void>(
      ((code == static_cast<int>(I) && (calculate<F>(a, b, third, result), true)) || ...));
  return result;
}
template <class... F, class Third>
__device__ Quad<float> calculate(functors::List<F...> list, int code, const Quad<float>& a,
                                 const Quad<float>& b, const Third& third) {
  return calculate(list, std::make_index_sequence<sizeof...(F)>{}, code, a, b, third);
}

/// `registers` are a thread's own, `pitch` apart.
template <bool kHalves, bool kFunctions, class Code, class At>
__device__ void run_steps(const Code& code, Quad<float>* registers, int pitch,
                          const float* uniforms, const At& at) {
  const bool is_whole = at.is_whole(code);
  if (is_whole) {
    for (int load = 0; load < code.num_loads; load += 4) {
      Quad<float> next[4];
      GRADGRAPH_UNROLL
      for (int i = 0; i < 4; ++i)
        if (load + i < code.num_loads)
          next[i] = at.template bring<kHalves>(code, code.loads[load + i]);
      GRADGRAPH_UNROLL
      for (int i = 0; i < 4; ++i)
        if (load + i < code.num_loads) registers[(load + i) * pitch] = next[i];
    }
  } else {
    GRADGRAPH_NO_UNROLL
    for (int load = 0; load < code.num_loads; ++load)
      registers[load * pitch] = bring_some<kHalves>(code, code.loads[load], at);
  }
  Quad<float> last{};
  const auto operand = [&](int place) {
    if (place == kLast) return last;
    if (place < kUniform) return registers[place * pitch];
    const float value = uniforms[place - kUniform];
    return Quad<float>{value, value, value, value};
  };
  for (int i = 0; i < code.num_steps; ++i) {
    const FloatStep step = code.steps[i];
    const Quad<float> a = operand(step.operands[0]), b = operand(step.operands[1]);
    using Codes =
        std::conditional_t<kFunctions, codes::Functions,
                           std::conditional_t<kHalves, codes::ShortOfHalves, codes::Short>>;
    last = calculate(Codes{}, step.code, a, b, [&] { return operand(step.operands[2]); });
    if (step.result != kNowhere) registers[step.result * pitch] = last;
    if (step.output == kNowhere) continue;
    const int view = code.writing[step.output] - 1;
    if (is_whole && view < 0) {
      at.template send<kHalves>(code, step.output, last);
    } else {
      GRADGRAPH_UNROLL
      for (int j = 0; j < 4; ++j)
        if (j < at.count)
          put_element<kHalves>(code, step.output, view < 0 ? at.own(j) : at.viewed(code, view, j),
                               last.values[j]);
    }
  }
}

/// Brings the values that are the same for all elements, for all threads of a block, and returns
/// whether these must do nothing.
template <bool kHalves, class Code>
__device__ bool bring_uniforms(const Code& code, float* uniforms, const Stopper& stopper) {
  for (int i = static_cast<int>(threadIdx.x); i < code.num_uniforms;
       i += static_cast<int>(blockDim.x))
    uniforms[i] = element<kHalves>(code, code.uniforms[i], 0);
  return __syncthreads_or(is_stopped(stopper)) != 0;
}

constexpr int kFloatThreads = 128;

/// Memory of a block: the threads' registers, and what is the same for all.
inline std::size_t shared_bytes(const FloatCode& code) {
  return static_cast<std::size_t>(code.num_registers) * kFloatThreads * sizeof(Quad<float>) +
         static_cast<std::size_t>(code.num_uniforms) * sizeof(float);
}

}  // namespace gradgraph::cuda

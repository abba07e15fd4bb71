#pragma once

#include "device/cpu/convolution/depthwise/depthwise_loops.h"
#include "device/cpu/convolution/line_loops.h"
#include "device/cpu/convolution/product_sum_tiles.h"
#include "device/cpu/isa/upper_halves.h"
#include "device/cpu/isa/vectors.h"
#include "ops/nn/pooled_convolution.h"

/// The loops behind LineLoops. Included by one file per level of the instruction set, as
/// loops_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

inline void pool(const PoolLine& p, const float* lines, const float* bias, float* pooled,
                 std::uint8_t* choice) {
  const Vector zero{};
  for (std::int64_t x = 0; x < p.width; ++x)
    for (std::int64_t c = 0; c < p.channels; c += kLanes) {
      const std::int64_t left = p.channels - c;
      const Mask lanes = first_lanes(left);
      const Vector shift = load(bias + c, lanes);
      // After relu the first tap beats this, whatever it is.
      Vector best = broadcast(-__builtin_inff()), place = zero;
      float tap = 0;
      for (std::int64_t i = 0; i < p.window_height; ++i) {
        const float* pixel = lines + i * p.line + x * p.window_width * p.channels + c;
        for (std::int64_t j = 0; j < p.window_width; ++j, ++tap, pixel += p.channels) {
          const Vector value = relu(load(pixel, lanes) + shift);
          const Condition wins = beats(value, best);
          best = choose(wins, value, best);
          place = choose(wins, broadcast(tap), place);
        }
      }
      const std::int64_t at = x * p.channels + c;
      store(pooled + at, best, lanes);
      store_bytes(choice + at, choose(less_equal(best, zero), broadcast(kNoChoice), place), left);
    }
}

inline void unpool(const PoolLine& p, const float* grad, const std::uint8_t* choice, float* lines,
                   float* total) {
  const Vector zero{};
  for (std::int64_t x = 0; x < p.width; ++x)
    for (std::int64_t c = 0; c < p.channels; c += kLanes) {
      const std::int64_t at = x * p.channels + c, left = p.channels - c;
      const Mask lanes = first_lanes(left);
      const Vector value = load(grad + at, lanes), place = load_bytes(choice + at, left);
      const Vector flows = choose(equal(place, broadcast(kNoChoice)), zero, value);
      store(total + c, load(total + c, lanes) + flows, lanes);
      float tap = 0;
      for (std::int64_t i = 0; i < p.window_height; ++i) {
        float* pixel = lines + i * p.line + x * p.window_width * p.channels + c;
        for (std::int64_t j = 0; j < p.window_width; ++j, ++tap, pixel += p.channels)
          store(pixel, choose(equal(place, broadcast(tap)), value, zero), lanes);
      }
    }
}

#if defined(__AVX2__) && !defined(__AVX512F__)
/// For each set of eight lanes those in it, in their order.
struct ChosenLanes {
  std::uint8_t lanes[256][8] = {};
};
constexpr ChosenLanes chosen_lanes() {
  ChosenLanes chosen;
  for (int set = 0; set < 256; ++set)
    for (int lane = 0, count = 0; lane < 8; ++lane)
      if (set >> lane & 1) chosen.lanes[set][count++] = static_cast<std::uint8_t>(lane);
  return chosen;
}
constexpr ChosenLanes kChosenLanes = chosen_lanes();
#endif

inline std::int64_t gather_choice(const float* grad, const std::uint8_t* choice, int tap,
                                  std::int64_t count, std::int32_t step, float* factors,
                                  std::int32_t* offsets) {
  std::int64_t found = 0;
#if defined(__AVX512F__)
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i offset = _mm512_mullo_epi32(lane, _mm512_set1_epi32(step));
  const __m512i next = _mm512_set1_epi32(step * kLanes);
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(tap));
  for (std::int64_t i = 0; i < count; i += kLanes, offset = _mm512_add_epi32(offset, next)) {
    const Mask lanes = first_lanes(count - i);
    const Mask chosen =
        _mm_mask_cmpeq_epi8_mask(lanes, _mm_maskz_loadu_epi8(lanes, choice + i), wanted);
    store(factors + found, _mm512_maskz_compress_ps(chosen, load(grad + i, lanes)));
    _mm512_storeu_si512(offsets + found, _mm512_maskz_compress_epi32(chosen, offset));
    found += __builtin_popcount(chosen);
  }
#else
  std::int64_t i = 0;
#if defined(__AVX2__)
  __m256i offset =
      _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(step));
  const __m256i next = _mm256_set1_epi32(step * kLanes);
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(tap));
  for (; i + kLanes <= count; i += kLanes, offset = _mm256_add_epi32(offset, next)) {
    const __m128i taps = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(choice + i));
    const int chosen = _mm_movemask_epi8(_mm_cmpeq_epi8(taps, wanted)) & 0xff;
    const __m256i lanes = _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kChosenLanes.lanes[chosen])));
    store(factors + found, _mm256_permutevar8x32_ps(load(grad + i), lanes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(offsets + found),
                        _mm256_permutevar8x32_epi32(offset, lanes));
    found += __builtin_popcount(static_cast<unsigned>(chosen));
  }
#endif
  for (; i < count; ++i) {
    factors[found] = grad[i];
    offsets[found] = static_cast<std::int32_t>(i) * step;
    found += choice[i] == tap ? 1 : 0;
  }
#endif
  return found;
}

template <int Width, class Last>
void add_rows_of(const float* rows, const RowTerms& terms, float* target, Last last) {
  Vector sum[Width];
  GRADGRAPH_UNROLL
  for (int v = 0; v + 1 < Width; ++v) sum[v] = load(target + v * kLanes);
  sum[Width - 1] = load(target + (Width - 1) * kLanes, last);
  for (std::int64_t t = 0; t < terms.count; ++t) {
    const Vector factor = broadcast(terms.factors[t]);
    const float* row = rows + terms.offsets[t];
    GRADGRAPH_UNROLL
    for (int v = 0; v + 1 < Width; ++v)
      sum[v] = multiply_add(factor, load(row + v * kLanes), sum[v]);
    sum[Width - 1] = multiply_add(factor, load(row + (Width - 1) * kLanes, last), sum[Width - 1]);
  }
  GRADGRAPH_UNROLL
  for (int v = 0; v + 1 < Width; ++v) store(target + v * kLanes, sum[v]);
  store(target + (Width - 1) * kLanes, sum[Width - 1], last);
}

template <int Width>
void add_rows_up_to(const float* rows, const RowTerms& terms, float* target,
                    std::int64_t length) {
  if constexpr (Width > 1) {
    if (length <= (Width - 1) * kLanes)
      return add_rows_up_to<Width - 1>(rows, terms, target, length);
  }
  if (length == Width * kLanes)
    add_rows_of<Width>(rows, terms, target, AllLanes{});
  else
    add_rows_of<Width>(rows, terms, target, first_lanes(length - (Width - 1) * kLanes));
}

inline void add_rows(const float* rows, const RowTerms& terms, float* target,
                     std::int64_t length) {
  constexpr std::int64_t kWidth = 8;
  for (std::int64_t i = 0; i < length; i += kWidth * kLanes) {
    const std::int64_t left = length - i;
    add_rows_up_to<kWidth>(rows + i, terms, target + i,
                           left < kWidth * kLanes ? left : kWidth * kLanes);
  }
  clear_upper_halves();
}

constexpr LineLoops make_line_loops() {
  return {compute_product_sum,   pool,          unpool,  depthwise,
          depthwise_filter_grad, gather_choice, add_rows};
}

}  // namespace gradgraph::GRADGRAPH_ISA

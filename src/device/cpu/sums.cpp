#include "device/cpu/sums.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "device/cpu/elements.h"
#include "device/cpu/kernels.h"
#include "device/cpu/parallel.h"

namespace gradgraph {
namespace {

/// Columns that a task sums at once, in an accumulator that stays in the first-level cache.
constexpr std::int64_t kColumns = 512;
/// Narrower rows are laid side by side until they are about this wide: vectors need width.
constexpr std::int64_t kNarrow = 64;
/// Rows that one task adds before the partial sums of tasks are added in turn.
constexpr std::int64_t kMinRows = 256;

/// One pass: [outer, rows, inner] to [outer, chunks, inner].
struct Stage {
  std::int64_t outer = 1, rows = 1, inner = 1, chunks = 1, chunk_rows = 1;

  Stage(std::int64_t outer_count, std::int64_t row_count, std::int64_t inner_count)
      : outer(outer_count), rows(row_count), inner(inner_count) {
    chunk_rows = std::max(kMinRows, kParallelGrain / std::max<std::int64_t>(inner, 1));
    chunks = std::max<std::int64_t>((rows + chunk_rows - 1) / chunk_rows, 1);
  }
  std::int64_t elements() const { return outer * chunks * inner; }
};

/// total[0..width) = the sum of `rows` rows, `stride` apart: eight at a time, in pairs.
template <class T>
void sum_rows(const T* x, std::int64_t rows, std::int64_t stride, std::int64_t width,
              T* __restrict total) {
  std::fill_n(total, width, T{});
  std::int64_t row = 0;
  for (; row + 8 <= rows; row += 8) {
    const T* r = x + row * stride;
    const T *a = r, *b = a + stride, *c = b + stride, *d = c + stride, *e = d + stride,
            *f = e + stride, *g = f + stride, *h = g + stride;
    for (std::int64_t j = 0; j < width; ++j)
      total[j] = static_cast<T>(
          total[j] + (((a[j] + b[j]) + (c[j] + d[j])) + ((e[j] + f[j]) + (g[j] + h[j]))));
  }
  for (; row < rows; ++row)
    for (std::int64_t j = 0; j < width; ++j)
      total[j] = static_cast<T>(total[j] + x[row * stride + j]);
}

/// The same for contiguous rows so narrow that several make one wide row.
template <class T>
void sum_narrow_rows(const T* x, std::int64_t rows, std::int64_t width, T* __restrict total) {
  const std::int64_t side = (kNarrow + width - 1) / width, wide = side * width;
  std::array<T, 2 * kNarrow> lanes;
  sum_rows(x, rows / side, wide, wide, lanes.data());
  for (std::int64_t left = side; left > 1; left = (left + 1) / 2)
    for (std::int64_t i = 0; i < left / 2 * width; ++i) {
      const std::int64_t other = i + (left + 1) / 2 * width;
      lanes[static_cast<std::size_t>(i)] = static_cast<T>(lanes[static_cast<std::size_t>(i)] +
                                                          lanes[static_cast<std::size_t>(other)]);
    }
  std::copy_n(lanes.data(), width, total);
  for (std::int64_t row = rows / side * side; row < rows; ++row)
    for (std::int64_t j = 0; j < width; ++j)
      total[j] = static_cast<T>(total[j] + x[row * width + j]);
}

/// Short contiguous rows, one sum each: [outer, rows] to [outer].
template <class T>
void sum_short_rows(const Stage& s, const T* x, T* out, int threads) {
  const auto sums = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T* row = x + i * s.rows;
      T even{}, odd{};
      std::int64_t j = 0;
      for (; j + 1 < s.rows; j += 2) {
        even = static_cast<T>(even + row[j]);
        odd = static_cast<T>(odd + row[j + 1]);
      }
      if (j < s.rows) even = static_cast<T>(even + row[j]);
      out[i] = static_cast<T>(even + odd);
    }
  };
  parallel_for(s.outer, kParallelGrain / std::max<std::int64_t>(s.rows, 1), threads, sums);
}

template <class T>
void run_stage(const Stage& s, const T* x, T* out, int threads) {
  if (s.inner == 1 && s.rows < kNarrow) return sum_short_rows(s, x, out, threads);
  const std::int64_t bands = (s.inner + kColumns - 1) / kColumns;
  const std::int64_t work = std::min(s.chunk_rows, s.rows) * std::min(s.inner, kColumns);
  const auto tasks = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t column = task % bands * kColumns, part = task / bands;
      const std::int64_t first = part % s.chunks * s.chunk_rows;
      const std::int64_t rows = std::min(s.chunk_rows, s.rows - first);
      const std::int64_t width = std::min(kColumns, s.inner - column);
      const T* from = x + (part / s.chunks * s.rows + first) * s.inner + column;
      T* to = out + part * s.inner + column;
      if (s.inner < kNarrow && rows * s.inner >= 2 * kNarrow)
        sum_narrow_rows(from, rows, s.inner, to);
      else
        sum_rows(from, rows, s.inner, width, to);
    }
  };
  parallel_for(s.outer * s.chunks * bands, kParallelGrain / std::max<std::int64_t>(work, 1),
               threads, tasks);
}

/// Sums over the longest run of reduced axes first, which leaves the least to the others.
std::vector<Stage> plan_stages(const Shape& from, std::uint32_t reduced) {
  struct Run {
    std::int64_t size;
    bool summed;
  };
  std::vector<Run> runs;
  for (int axis = 0; axis < from.rank(); ++axis) {
    const bool summed = (reduced >> axis & 1u) != 0;
    if (from[axis] == 1) continue;
    if (!runs.empty() && runs.back().summed == summed)
      runs.back().size *= from[axis];
    else
      runs.push_back({from[axis], summed});
  }
  const auto product = [](auto first, auto last) {
    std::int64_t count = 1;
    for (; first != last; ++first) count *= first->size;
    return count;
  };
  std::vector<Stage> stages;
  for (;;) {
    const auto longest = std::max_element(runs.begin(), runs.end(), [](Run a, Run b) {
      return (a.summed ? a.size : -1) < (b.summed ? b.size : -1);
    });
    if (longest == runs.end() || !longest->summed) return stages;
    const Stage stage(product(runs.begin(), longest), longest->size,
                      product(longest + 1, runs.end()));
    stages.push_back(stage);
    if (stage.chunks == 1)
      runs.erase(longest);
    else
      longest->size = stage.chunks;
  }
}

template <class T>
Kernel make_typed(std::vector<Stage> stages, std::int64_t elements, int threads) {
  // Stages write in turns to the two halves of the workspace, the last one to the output.
  std::int64_t half = 0;
  for (std::size_t i = 0; i + 1 < stages.size(); ++i) half = std::max(half, stages[i].elements());
  const auto run = [stages = std::move(stages), elements, half, threads](const KernelArgs& args) {
    const T* from = args.input<T>(0);
    if (stages.empty() && elements > 0)
      std::memcpy(args.outputs[0], from, static_cast<std::size_t>(elements) * sizeof(T));
    for (std::size_t i = 0; i < stages.size(); ++i) {
      T* to = i + 1 == stages.size()
                  ? args.output<T>()
                  : static_cast<T*>(args.workspace) + static_cast<std::int64_t>(i % 2) * half;
      run_stage(stages[i], from, to, threads);
      from = to;
    }
  };
  return {run, 2 * static_cast<std::size_t>(half) * sizeof(T)};
}

Kernel make_sum_to(const KernelSite& site) {
  const Shape &from = site.input_shape(0), &to = site.output_shape();
  const int leading = from.rank() - to.rank();
  std::uint32_t reduced = 0;
  for (int axis = 0; axis < from.rank(); ++axis)
    if (axis < leading || (to[axis - leading] == 1 && from[axis] != 1)) reduced |= 1u << axis;
  return make_sum_kernel(site.input_dtype(0), from, reduced, site.threads());
}

}  // namespace

Kernel make_sum_kernel(DType dtype, const Shape& from, std::uint32_t reduced, int threads) {
  std::int64_t elements = 1;
  for (int axis = 0; axis < from.rank(); ++axis)
    if ((reduced >> axis & 1u) == 0) elements *= from[axis];
  return dispatch_sum(dtype, [&]<class T>() {
    return make_typed<T>(plan_stages(from, reduced), elements, threads);
  });
}

void register_sum_to_kernels(KernelRegistry& registry) {
  registry.add("sum_to", kCpu, kNumberDTypes, make_sum_to);
}

}  // namespace gradgraph

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "device/cuda/fast_divisor.h"
#include "device/cuda/issue.h"
#include "device/cuda/kernels.h"
#include "device/shared/math_functions.h"
#include "ops/nn/attention.h"

/// Attention of few keys, whose scores a block keeps in shared memory: where a model is small,
/// launches of its own for each product, mask and softmax would be most of its time. What has
/// more of them, or with deep rows needs more shared memory, is left to cuBLAS. The gradient has
/// two launches, and what the second reads of scores lies in memory between them.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

constexpr int kThreads = 256;
/// A block has so many rows of a head, each of which belongs to some lanes of a warp.
constexpr int kRows = 32, kLanes = kThreads / kRows;
/// Columns of a row that a lane makes at once, and so all of its lanes.
constexpr int kOwn = 4, kAcross = kOwn * kLanes;
/// Rows of another matrix that a block brings at once.
constexpr int kBrought = kAcross;
/// Beyond it, products of larger tiles gain more than launches cost.
constexpr int64_t kMostKeys = 128;
constexpr std::size_t kMostShared = std::size_t{48} << 10;

/// Which of the masks a head has, by the axes in front, the innermost first.
struct MaskHeads {
  std::int32_t extents[Shape::kMaxRank] = {}, strides[Shape::kMaxRank] = {};
  std::int32_t rank = 0;

  MaskHeads(const Shape& leading, const Shape& mask) {
    std::int32_t stride = 1;
    for (int axis = leading.rank() - 1, own = mask.rank() - 3; own >= 0; --axis, --own) {
      extents[rank] = static_cast<std::int32_t>(leading[axis]);
      strides[rank++] = mask[own] == 1 ? 0 : stride;
      stride *= static_cast<std::int32_t>(mask[own]);
    }
  }
  __device__ int64_t of(int head) const {
    int64_t index = 0;
    for (int axis = 0; axis < rank; ++axis) {
      index += int64_t{head % extents[axis]} * strides[axis];
      head /= extents[axis];
    }
    return index;
  }
};

/// A head's matrix, of which some rows are brought at a time.
struct Rows {
  const float* from;
  int rows, columns, stride;  ///< from a row to the next one
  FastDivisor by_columns;

  /// `count` from `first` on, with zeros behind the last. Loads do not wait for each other.
  __device__ void bring(int first, int count, float* to, int pitch) const {
    constexpr int kAtOnce = 4;
    const int all = count * columns;
    for (int begin = static_cast<int>(threadIdx.x); begin < all; begin += kAtOnce * kThreads) {
      float values[kAtOnce];
      GRADGRAPH_UNROLL
      for (int j = 0; j < kAtOnce; ++j) {
        const auto [row, column] = by_columns(begin + j * kThreads);
        const bool has = row < count && first + row < rows;
        values[j] = has ? from[(first + row) * stride + column] : 0.0F;
      }
      GRADGRAPH_UNROLL
      for (int j = 0; j < kAtOnce; ++j)
        if (const int i = begin + j * kThreads; i < all) {
          const auto [row, column] = by_columns(i);
          to[row * pitch + column] = values[j];
        }
    }
  }
};

struct Problem {
  const float *q = nullptr, *k = nullptr, *v = nullptr, *grad = nullptr;
  const void* mask = nullptr;
  float *y = nullptr, *q_grad = nullptr, *k_grad = nullptr, *v_grad = nullptr;
  /// [head, query, key] in rows of their own length: written forward, if at all; backward read
  /// where they are kept, else made anew.
  float *weights = nullptr, *score_grads = nullptr;
  MaskHeads mask_heads;
  int64_t mask_size;
  int heads, inner_heads, queries, keys, depth, value_depth, mask_stride, weights_row;
  FastDivisor by_depth, by_value_depth;
  float scale, hidden;
  bool is_boolean, keeps_weights;

  explicit Problem(const KernelSite& site, const Attention& a)
      : mask_heads(a.leading_axes(), a.mask_shape),
        mask_size(a.mask_size),
        heads(static_cast<int>(a.heads)),
        inner_heads(static_cast<int>(a.inner_heads)),
        queries(static_cast<int>(a.queries)),
        keys(static_cast<int>(a.keys)),
        depth(static_cast<int>(a.depth)),
        value_depth(static_cast<int>(a.value_depth)),
        mask_stride(static_cast<int>(a.mask_stride)),
        weights_row(static_cast<int>(row_of_scores(a.keys))),
        by_depth(depth),
        by_value_depth(value_depth),
        scale(static_cast<float>(a.scale)),
        hidden(static_cast<float>(a.hidden)),
        is_boolean(a.mask_input >= 0 && site.input_dtype(a.mask_input) == boolean),
        keeps_weights(a.keeps_weights) {}

  /// Where a row of a head lies.
  __device__ int64_t place_of(int head, int rows, int row, int columns) const {
    const int64_t first = int64_t{head / inner_heads} * rows + row;
    return (first * inner_heads + head % inner_heads) * columns;
  }
  __device__ Rows rows_of(const float* matrices, int head, int rows) const {
    return {matrices + place_of(head, rows, 0, depth), rows, depth, inner_heads * depth,
            by_depth};
  }
  __device__ Rows value_rows_of(const float* matrices, int head, int rows) const {
    return {matrices + place_of(head, rows, 0, value_depth), rows, value_depth,
            inner_heads * value_depth, by_value_depth};
  }

  /// A column more than there is, so that rows begin in different banks.
  int score_pitch() const { return keys + 1; }
  int row_pitch() const { return std::max(depth, value_depth) + 1; }
  /// For so many scores of each row, and the rows' own values where there are any.
  std::size_t shared_bytes(int scores) const {
    const int own_rows = kBrought + (scores > 0 ? kRows : 0);
    return sizeof(float) *
           static_cast<std::size_t>(scores * kRows * score_pitch() + own_rows * row_pitch());
  }
  int64_t row_blocks(int rows) const { return int64_t{heads} * ((rows + kRows - 1) / kRows); }
};

/// A thread's place in its block's rows.
struct Place {
  int row = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
};

/// result(key, own row times that key's) for each key of the thread's row, which lies in `own`.
/// A barrier has been passed since `brought` was read.
template <class Result>
__device__ void multiply_rows(const Place& at, const Rows& keys, const float* own, float* brought,
                              int pitch, const Result& result) {
  for (int first = 0; first < keys.rows; first += kBrought) {
    if (first > 0) __syncthreads();
    keys.bring(first, kBrought, brought, pitch);
    __syncthreads();
    float sums[kOwn] = {};
    for (int c = 0; c < keys.columns; ++c) {
      const float factor = own[at.row * pitch + c];
      GRADGRAPH_UNROLL
      for (int j = 0; j < kOwn; ++j)
        sums[j] = std::fma(factor, brought[(at.lane + j * kLanes) * pitch + c], sums[j]);
    }
    GRADGRAPH_UNROLL
    for (int j = 0; j < kOwn; ++j)
      if (const int key = first + at.lane + j * kLanes; key < keys.rows) result(key, sums[j]);
  }
}

/// A row for each of the threads', the sum of a matrix's, of which row i counts factor(i) times.
/// `prepare(i)` is called with the first of those that are brought.
template <class Prepare, class Factor>
__device__ void add_rows(const Place& at, const Rows& rows, float* brought, int pitch,
                         const Prepare& prepare, const Factor& factor, float* to, bool is_there) {
  for (int begin = 0; begin < rows.columns; begin += kAcross) {
    float sums[kOwn] = {};
    for (int first = 0; first < rows.rows; first += kBrought) {
      __syncthreads();
      rows.bring(first, kBrought, brought, pitch);
      prepare(first);
      __syncthreads();
      const int count = min(kBrought, rows.rows - first);
      for (int i = 0; i < count; ++i) {
        const float own = factor(first + i);
        GRADGRAPH_UNROLL
        for (int j = 0; j < kOwn; ++j)
          if (const int column = begin + at.lane + j * kLanes; column < rows.columns)
            sums[j] = std::fma(own, brought[i * pitch + column], sums[j]);
      }
    }
    GRADGRAPH_UNROLL
    for (int j = 0; j < kOwn; ++j)
      if (const int column = begin + at.lane + j * kLanes; is_there && column < rows.columns)
        to[column] = sums[j];
  }
}
struct Nothing {
  __device__ void operator()(int) const {}
};

/// The same for all lanes of a row.
template <class Combine>
__device__ float of_row(float value, const Combine& combine) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}

/// A block's queries, their scores, and what it brings.
struct Shared {
  float *weights, *grads, *own, *brought;

  __device__ Shared(const Problem& p, int pitch, bool has_grads)
      : weights(dynamic_shared<float>()) {
    grads = weights + (has_grads ? kRows * (p.keys + 1) : 0);
    own = grads + kRows * (p.keys + 1);
    brought = own + kRows * pitch;
  }
};

/// What a mask says of the thread's row. A lane has every kLanes'th key, here as in its weights.
struct Mask {
  unsigned hidden = 0;  ///< bits: which of the lane's keys are

  __device__ bool hides(int key) const { return (hidden >> (key / kLanes) & 1u) != 0; }
  /// What is to be added to scores comes to `added`. Loads do not wait for each other.
  __device__ void bring(const Problem& p, const Place& at, int head, int query, float* added) {
    if (!p.mask || query >= p.queries) return;
    const int64_t from = p.mask_heads.of(head) * p.mask_size + int64_t{query} * p.mask_stride;
    for (int first = at.lane; first < p.keys; first += kAcross) {
      float values[kOwn] = {};
      GRADGRAPH_UNROLL
      for (int j = 0; j < kOwn; ++j)
        if (const int key = first + j * kLanes; key < p.keys)
          values[j] = p.is_boolean
                          ? static_cast<float>(static_cast<const bool*>(p.mask)[from + key])
                          : static_cast<const float*>(p.mask)[from + key];
      GRADGRAPH_UNROLL
      for (int j = 0; j < kOwn; ++j) {
        const int key = first + j * kLanes;
        if (key < p.keys && p.is_boolean && values[j] == 0) hidden |= 1u << (key / kLanes);
        if (key < p.keys && !p.is_boolean) added[key] = values[j];
      }
    }
  }
};
static_assert(kMostKeys / kLanes <= 32);

/// Which query a thread has a part in, of a block's: those of a head from `first` on.
struct Query {
  int head, first, number;
  bool is_there;
  int64_t row;  ///< among all heads'

  __device__ Query(const Problem& p, const Place& at, int task) {
    head = task / tiles(p);
    first = task % tiles(p) * kRows;
    number = first + at.row;
    is_there = number < p.queries;
    row = int64_t{head} * p.queries + number;
  }
  __device__ static int tiles(const Problem& p) { return (p.queries + kRows - 1) / kRows; }
  /// Of all blocks.
  __device__ static int tasks(const Problem& p) { return p.heads * tiles(p); }
};

/// How much the row's query, which lies in `own`, takes from each key; of those that are not
/// there something. `weights` has what is to be added to scores.
__device__ void weigh(const Problem& p, const Place& at, const Rows& keys, bool is_there,
                      const Mask& mask, const float* own, float* brought, int pitch,
                      float* weights) {
  const bool adds = p.mask && !p.is_boolean && is_there;
  multiply_rows(at, keys, own, brought, pitch, [&](int key, float product) {
    const float score = p.scale * product;
    weights[key] = mask.hides(key) ? p.hidden : adds ? score + weights[key] : score;
  });
  // What a lane writes it alone reads.
  const auto largest_of = [](float a, float b) { return b > a || b != b ? b : a; };
  float largest = -std::numeric_limits<float>::infinity();
  for (int key = at.lane; key < p.keys; key += kLanes)
    largest = largest_of(largest, weights[key]);
  largest = of_row(largest, largest_of);
  float total = 0;
  for (int key = at.lane; key < p.keys; key += kLanes) {
    weights[key] = math::exp(weights[key] - largest);
    total += weights[key];
  }
  total = of_row(total, [](float a, float b) { return a + b; });
  for (int key = at.lane; key < p.keys; key += kLanes) weights[key] /= total;
  __syncwarp();
}

__global__ void __launch_bounds__(kThreads) attend(const __grid_constant__ Problem p, int pitch) {
  const Shared shared(p, pitch, false);
  const Place at;
  for (int task = static_cast<int>(blockIdx.x); task < Query::tasks(p);
       task += static_cast<int>(gridDim.x)) {
    const auto [head, first, query, is_there, row] = Query(p, at, task);
    const Rows keys = p.rows_of(p.k, head, p.keys), values = p.value_rows_of(p.v, head, p.keys);
    float* const weights = shared.weights + at.row * (p.keys + 1);
    Mask mask;
    mask.bring(p, at, head, query, weights);
    __syncthreads();
    p.rows_of(p.q, head, p.queries).bring(first, kRows, shared.own, pitch);
    weigh(p, at, keys, is_there, mask, shared.own, shared.brought, pitch, weights);
    if (p.weights && is_there)
      for (int key = at.lane; key < p.keys; key += kLanes)
        p.weights[row * p.weights_row + key] = weights[key];
    add_rows(
        at, values, shared.brought, pitch, Nothing{}, [&](int key) { return weights[key]; },
        p.y + p.place_of(head, p.queries, query, p.value_depth), is_there);
    __syncwarp();
  }
}

/// The gradients by queries, and by scores for the other two.
__global__ void __launch_bounds__(kThreads)
    attend_back(const __grid_constant__ Problem p, int pitch) {
  const Shared shared(p, pitch, true);
  const Place at;
  for (int task = static_cast<int>(blockIdx.x); task < Query::tasks(p);
       task += static_cast<int>(gridDim.x)) {
    const auto [head, first, query, is_there, row] = Query(p, at, task);
    const Rows keys = p.rows_of(p.k, head, p.keys), values = p.value_rows_of(p.v, head, p.keys);
    float* const weights = shared.weights + at.row * (p.keys + 1);
    float* const grads = shared.grads + at.row * (p.keys + 1);
    Mask mask;
    mask.bring(p, at, head, query, weights);
    if (p.keeps_weights) {
      for (int key = at.lane; key < p.keys; key += kLanes)
        weights[key] = is_there ? p.weights[row * p.weights_row + key] : 0.0F;
    } else {
      __syncthreads();
      p.rows_of(p.q, head, p.queries).bring(first, kRows, shared.own, pitch);
      weigh(p, at, keys, is_there, mask, shared.own, shared.brought, pitch, weights);
      for (int key = at.lane; key < p.keys && is_there; key += kLanes)
        p.weights[row * p.weights_row + key] = weights[key];
    }
    __syncthreads();
    p.value_rows_of(p.grad, head, p.queries).bring(first, kRows, shared.own, pitch);
    float total = 0;
    multiply_rows(at, values, shared.own, shared.brought, pitch, [&](int key, float by_weight) {
      grads[key] = by_weight;
      total += weights[key] * by_weight;
    });
    total = of_row(total, [](float a, float b) { return a + b; });
    for (int key = at.lane; key < p.keys; key += kLanes) {
      grads[key] = mask.hides(key) ? 0.0F : p.scale * weights[key] * (grads[key] - total);
      if (is_there) p.score_grads[row * p.weights_row + key] = grads[key];
    }
    __syncwarp();
    add_rows(
        at, keys, shared.brought, pitch, Nothing{}, [&](int key) { return grads[key]; },
        p.q_grad + p.place_of(head, p.queries, query, p.depth), is_there);
  }
}

/// The gradients by keys and values: a block has some keys of a head.
__global__ void __launch_bounds__(kThreads)
    add_queries(const __grid_constant__ Problem p, int pitch) {
  __shared__ float factors[kBrought][kRows + 1];
  float* const brought = dynamic_shared<float>();
  const Place at;
  const int tiles = (p.keys + kRows - 1) / kRows;
  for (int task = static_cast<int>(blockIdx.x); task < p.heads * tiles;
       task += static_cast<int>(gridDim.x)) {
    const int head = task / tiles, first_key = task % tiles * kRows, key = first_key + at.row;
    const int64_t scores = int64_t{head} * p.queries * p.weights_row;
    const auto add = [&](const float* of_scores, const Rows& rows, float* to) {
      const auto prepare = [&](int first) {
        constexpr int kEach = kBrought * kRows / kThreads;
        float values[kEach];
        GRADGRAPH_UNROLL
        for (int j = 0; j < kEach; ++j) {
          const int i = static_cast<int>(threadIdx.x) + j * kThreads;
          const int query = first + i / kRows, column = first_key + i % kRows;
          const bool has = query < p.queries && column < p.keys;
          values[j] = has ? of_scores[scores + int64_t{query} * p.weights_row + column] : 0.0F;
        }
        GRADGRAPH_UNROLL
        for (int j = 0; j < kEach; ++j) {
          const int i = static_cast<int>(threadIdx.x) + j * kThreads;
          factors[i / kRows][i % kRows] = values[j];
        }
      };
      const auto factor = [&](int query) { return factors[query % kBrought][at.row]; };
      add_rows(at, rows, brought, pitch, prepare, factor,
               to + p.place_of(head, p.keys, key, rows.columns), key < p.keys);
    };
    add(p.score_grads, p.rows_of(p.q, head, p.queries), p.k_grad);
    add(p.weights, p.value_rows_of(p.grad, head, p.queries), p.v_grad);
  }
}

bool is_small(const Attention& a) {
  constexpr int64_t kMostScores = int64_t{1} << 24;
  return a.keys <= kMostKeys && a.queries <= kMostScores / a.heads / kMostKeys &&
         std::max(a.depth, a.value_depth) <= kMostKeys;
}

Kernel make_attention(const KernelSite& site) {
  const Attention attention(site.node());
  if (!is_small(attention)) return {};
  const Problem problem(site, attention);
  if (problem.shared_bytes(1) > kMostShared) return {};
  return {[problem, mask = attention.mask_input](const KernelArgs& args) {
    Problem own = problem;
    own.q = args.input<float>(0);
    own.k = args.input<float>(1);
    own.v = args.input<float>(2);
    if (mask >= 0) own.mask = args.inputs[static_cast<std::size_t>(mask)];
    own.y = args.output<float>(0);
    if (own.keeps_weights) own.weights = args.output<float>(1);
    issue(args, attend, blocks_for(own.row_blocks(own.queries), 1), kThreads, own.shared_bytes(1),
          own, own.row_pitch());
  }};
}

Kernel make_attention_grad(const KernelSite& site) {
  const Attention attention(site.node());
  if (!is_small(attention)) return {};
  const Problem problem(site, attention);
  if (problem.shared_bytes(2) > kMostShared) return {};
  const std::size_t scores = static_cast<std::size_t>(attention.heads * attention.queries) *
                             static_cast<std::size_t>(problem.weights_row);
  return {[problem, scores, mask = attention.mask_input](const KernelArgs& args) {
            Problem own = problem;
            own.q = args.input<float>(0);
            own.k = args.input<float>(1);
            own.v = args.input<float>(2);
            own.grad = args.input<float>(3);
            if (mask >= 0) own.mask = args.inputs[static_cast<std::size_t>(mask)];
            own.q_grad = args.output<float>(0);
            own.k_grad = args.output<float>(1);
            own.v_grad = args.output<float>(2);
            own.score_grads = static_cast<float*>(args.workspace);
            own.weights = own.keeps_weights
                              ? const_cast<float*>(args.input<float>(args.inputs.size() - 1))
                              : own.score_grads + scores;
            issue(args, attend_back, blocks_for(own.row_blocks(own.queries), 1), kThreads,
                  own.shared_bytes(2), own, own.row_pitch());
            issue(args, add_queries, blocks_for(own.row_blocks(own.keys), 1), kThreads,
                  own.shared_bytes(0), own, own.row_pitch());
          },
          scores * sizeof(float) * (problem.keeps_weights ? 1 : 2)};
}

}  // namespace

void register_attention_kernels(KernelRegistry& registry) {
  registry.add_faster("fused_attention", kCuda, {float32}, make_attention);
  registry.add_faster("fused_attention_grad", kCuda, {float32}, make_attention_grad);
}

}  // namespace gradgraph::cuda

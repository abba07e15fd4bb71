#include <algorithm>
#include <cstring>
#include <limits>

#include "core/checked.h"
#include "device/cpu/kernels.h"
#include "device/cpu/matmul/panel_product.h"
#include "device/cpu/softmax/softmax_rows.h"
#include "device/parallel.h"
#include "ops/nn/attention.h"

/// Attention, queries taken in blocks, whose scores stay in the second-level cache. Keys that a
/// mask hides from all queries of a block are left out.
namespace gradgraph {
namespace {

using std::int64_t;

/// Elements of a block's scores, and queries that it has at most: a smaller block sees fewer keys
/// where masks are triangles, in a larger one a product does more with what it has read.
constexpr int64_t kBlockScores = 1 << 15, kBlockQueries = 56;
/// Tasks that there are for threads to share, as long as each has so many queries.
constexpr int64_t kTasks = 16, kTaskQueries = 128;
/// Floats of a line of the cache, on which matrices begin.
constexpr int64_t kLine = 16;
/// Multiplications that a thread should at least have.
constexpr int64_t kPartWork = 1 << 17;

constexpr float kLowest = -std::numeric_limits<float>::infinity();

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

/// Keys [begin, end), the first one of a panel.
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  int64_t row() const { return row_of_scores(size()); }
};

/// Rows of a matrix with room for whole vectors.
struct Rows {
  const float* values;
  int64_t stride;
};

/// `count` rows of `columns` elements, into rows `stride` apart that end in zeros where they have
/// no room as they are.
Rows with_room(const float* from, int64_t columns, int64_t count, float* to, int64_t stride) {
  if (columns == stride) return {from, stride};
  for (int64_t i = 0; i < count; ++i)
    std::fill(std::copy_n(from + i * columns, columns, to + i * stride), to + (i + 1) * stride,
              0.0F);
  return {to, stride};
}
/// And back, unless they are there already.
void without_room(const float* from, int64_t stride, int64_t columns, int64_t count, float* to) {
  for (int64_t i = 0; i < count && from != to; ++i)
    std::copy_n(from + i * stride, columns, to + i * columns);
}

/// Keys that are `visible` to some of `count` queries, `stride` elements of the mask apart. All,
/// where a query sees none.
template <class Mask, class Visible>
Range visible_keys(const Mask* mask, int64_t stride, int64_t count, int64_t keys,
                   const Visible& visible) {
  Range range{keys, 0};
  for (int64_t i = 0; i < count; ++i, mask += stride) {
    const int64_t first = std::find_if(mask, mask + keys, visible) - mask;
    if (first == keys) return {0, keys};
    int64_t last = keys;
    while (last > range.end && !visible(mask[last - 1])) --last;
    range = {std::min(range.begin, first), std::max(range.end, last)};
  }
  return range;
}

/// Both the result and the gradients.
class BlockedAttention : Attention {
 public:
  BlockedAttention(const KernelSite& site, bool has_grad)
      : Attention(site.node()),
        has_grad_(has_grad),
        is_boolean_(mask_input >= 0 && site.input_dtype(mask_input) == boolean),
        may_skip_(mask_input >= 0 && (!is_boolean_ || hidden == kLowest)),
        tiles_(best_tiles()),
        softmax_(best_softmax_rows<float>()),
        width_(panel_columns(tiles_)),
        row_(round_up(depth, tiles_.lanes)),
        value_row_(round_up(value_depth, tiles_.lanes)) {
    segments_ = std::clamp<int64_t>(divide_up(kTasks, heads), 1,
                                    std::max<int64_t>(queries / kTaskQueries, 1));
    const int64_t segment = divide_up(queries, segments_);
    const int64_t most = std::clamp<int64_t>(kBlockScores / keys, tiles_.max_rows, kBlockQueries);
    blocks_ = divide_up(segment, most);
    block_ = divide_up(segment, blocks_);
    const int64_t work =
        checked_mul(checked_mul(queries, keys), checked_mul(depth + value_depth, heads));
    parts_ = std::clamp<int64_t>(work / kPartWork, 1,
                                 std::min<int64_t>(site.threads(), heads * segments_));
    place_matrices();
  }

  std::size_t workspace_bytes() const {
    return static_cast<std::size_t>(ranges_at() + num_ranges() * kRangeFloats) * sizeof(float);
  }

  void operator()(const KernelArgs& args) const {
    auto* workspace = static_cast<float*>(args.workspace);
    find_ranges(args);
    float* sums = workspace + parts_ * part_floats_;
    parallel_parts(heads * segments_, parts_, [&](int64_t part, int64_t begin, int64_t end) {
      float* own = workspace + part * part_floats_;
      for (int64_t task = begin; task < end; ++task)
        run_task(args, task, own, segments_ == 1 ? own + sums_ : sums + task * sums_floats_);
    });
    if (!has_grad_ || segments_ == 1) return;
    parallel_parts(heads, parts_, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head) {
        float* total = sums + head * segments_ * sums_floats_;
        for (int64_t i = 1; i < segments_; ++i)
          for (int64_t j = 0; j < sums_floats_; ++j) total[j] += total[i * sums_floats_ + j];
        write_sums(args, head, total, total + keys * row_);
      }
    });
  }

 private:
  /// A range takes the place of so many floats.
  static constexpr int64_t kRangeFloats = sizeof(Range) / sizeof(float);

  bool makes_weights() const { return !has_grad_ || !keeps_weights; }

  void place_matrices() {
    const int64_t padded_keys = round_up(keys, width_);
    const int64_t scores = block_ * Range{0, padded_keys}.row();
    const auto place = [&](int64_t& offset, int64_t floats) {
      offset = part_floats_;
      part_floats_ += round_up(floats, kLine);
    };
    place(scores_, scores);
    place(result_, block_ * std::max(row_, value_row_));
    if (makes_weights()) place(turned_keys_, padded_keys * depth);
    if (!keeps_weights) place(weights_, scores);
    place(values_, has_grad_ ? padded_keys * value_depth : keys * value_row_);
    if (!has_grad_) return;
    place(keys_, keys * row_);
    place(queries_, block_ * row_);
    place(grads_, block_ * value_row_);
    sums_floats_ = round_up(keys * (row_ + value_row_), kLine);
    if (segments_ == 1) place(sums_, sums_floats_);
  }

  int64_t num_ranges() const { return may_skip_ ? mask_heads * segments_ * blocks_ : 0; }
  /// Behind the parts' memory and the sums of tasks.
  int64_t ranges_at() const {
    return parts_ * part_floats_ + (segments_ > 1 ? heads * segments_ * sums_floats_ : 0);
  }
  Range* ranges(const KernelArgs& args) const {
    return reinterpret_cast<Range*>(static_cast<float*>(args.workspace) + ranges_at());
  }

  /// The queries of block `index` of a head.
  Range block_at(int64_t index) const {
    const int64_t segment = index / blocks_, end = queries * (segment + 1) / segments_;
    const int64_t begin = queries * segment / segments_ + index % blocks_ * block_;
    return {std::min(begin, end), std::min(begin + block_, end)};
  }

  void find_ranges(const KernelArgs& args) const {
    parallel_for(num_ranges(), grain_of(block_ * keys), static_cast<int>(parts_),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) ranges(args)[i] = find_range(args, i);
                 });
  }
  /// What the queries of a block see.
  Range find_range(const KernelArgs& args, int64_t index) const {
    const Range block = block_at(index % (segments_ * blocks_));
    const int64_t count = mask_stride == 0 ? 1 : block.size();
    const int64_t first = index / (segments_ * blocks_) * mask_size + block.begin * mask_stride;
    const auto input = static_cast<std::size_t>(mask_input);
    const Range range = is_boolean_
                            ? visible_keys(args.input<bool>(input) + first, mask_stride, count,
                                           keys, [](bool seen) { return seen; })
                            : visible_keys(args.input<float>(input) + first, mask_stride, count,
                                           keys, [](float added) { return added != kLowest; });
    return {range.begin / width_ * width_, range.end};
  }

  /// Some queries of a head, which all have the same keys and values.
  void run_task(const KernelArgs& args, int64_t task, float* own, float* sums) const {
    const int64_t head = task / segments_, segment = task % segments_;
    const float* key = args.input<float>(1) + head * keys * depth;
    const float* value = args.input<float>(2) + head * keys * value_depth;
    if (makes_weights()) turn(key, depth, static_cast<float>(scale), own + turned_keys_);
    if (has_grad_) turn(value, value_depth, 1, own + values_);
    const Rows by_key = has_grad_
                            ? with_room(key, depth, keys, own + keys_, row_)
                            : with_room(value, value_depth, keys, own + values_, value_row_);
    // Where nobody else adds to the gradients, and they have room, they are summed up in place.
    float *key_sums = sums, *value_sums = sums + keys * row_;
    if (has_grad_) {
      if (segments_ == 1 && row_ == depth) key_sums = args.output<float>(1) + head * keys * depth;
      if (segments_ == 1 && value_row_ == value_depth)
        value_sums = args.output<float>(2) + head * keys * value_depth;
      std::fill_n(key_sums, keys * row_, 0.0F);
      std::fill_n(value_sums, keys * value_row_, 0.0F);
    }
    for (int64_t index = segment * blocks_; index < (segment + 1) * blocks_; ++index) {
      const Range block = block_at(index);
      if (block.size() == 0) continue;
      const Range range =
          may_skip_ ? ranges(args)[mask_of(head) * segments_ * blocks_ + index] : Range{0, keys};
      const float* weights = weigh(args, head, block, range, own);
      if (has_grad_)
        differentiate(args, head, block, range, by_key, weights, own, key_sums, value_sums);
      else
        multiply_by_keys(weights, range, by_key, value_depth, block.size(), own,
                         args.output<float>() + (head * queries + block.begin) * value_depth);
    }
    if (has_grad_ && segments_ == 1) write_sums(args, head, key_sums, value_sums);
  }

  /// Rows of `matrix`, one for each key, as columns in panels.
  void turn(const float* matrix, int64_t columns, float factor, float* panels) const {
    for (int64_t j = 0; j < keys; j += width_)
      tiles_.transpose(matrix + j * columns, columns, panels + j * columns, width_,
                       std::min(width_, keys - j), columns);
    for (int64_t i = 0; i < round_up(keys, width_) * columns && factor != 1; ++i)
      panels[i] *= factor;
  }

  /// What the queries of a block take from each key in the range.
  const float* weigh(const KernelArgs& args, int64_t head, Range block, Range range,
                     float* own) const {
    const int64_t kept = (head * queries + block.begin) * row_of_scores(keys);
    if (!makes_weights()) return args.input<float>(args.inputs.size() - 1) + kept;
    const int64_t row = range.row();
    float* weights = keeps_weights ? args.output<float>(1) + kept : own + weights_;
    multiply_by_turned(args.input<float>(0) + (head * queries + block.begin) * depth, depth,
                       own + turned_keys_, depth, block.size(), range, own + scores_, kLowest);
    if (mask_input >= 0)
      mask_block(args, mask_at(head, block, range), block.size(), range, own + scores_);
    softmax_.softmax(own + scores_, weights, block.size(), row);
    return weights;
  }

  /// Where the first query's mask of the range begins.
  int64_t mask_at(int64_t head, Range block, Range range) const {
    return mask_of(head) * mask_size + block.begin * mask_stride + range.begin;
  }

  /// Rows of a block, each times all keys' rows of what was turned. Rows end in `beyond`.
  void multiply_by_turned(const float* rows, int64_t stride, const float* turned, int64_t inner,
                          int64_t count, Range range, float* result, float beyond) const {
    const int64_t row = range.row(), seen = range.size();
    PanelProduct{.a = rows,
                 .a_stride = stride,
                 .b = turned + range.begin * inner,
                 .b_stride = width_,
                 .panel_stride = width_ * inner,
                 .c = result,
                 .c_stride = row,
                 .rows = count,
                 .columns = seen,
                 .inner = inner}
        .run(tiles_);
    for (int64_t i = 0; i < count; ++i)
      std::fill(result + i * row + seen, result + (i + 1) * row, beyond);
  }

  void mask_block(const KernelArgs& args, int64_t first, int64_t count, Range range,
                  float* scores) const {
    const auto input = static_cast<std::size_t>(mask_input);
    for (int64_t i = 0; i < count; ++i, first += mask_stride, scores += range.row()) {
      if (is_boolean_) {
        const bool* seen = args.input<bool>(input) + first;
        hide(seen, find(false, seen, range.size()), range.size(), static_cast<float>(hidden),
             scores);
      } else {
        const float* added = args.input<float>(input) + first;
        for (int64_t j = 0; j < range.size(); ++j) scores[j] += added[j];
      }
    }
  }
  /// To what a boolean mask hides no gradient flows. There its weight, the same for all of a row,
  /// is mostly 0, and so is the gradient already.
  void mask_gradients(const KernelArgs& args, int64_t first, int64_t count, Range range,
                      const float* weights, float* by_scores) const {
    const bool* seen = args.input<bool>(static_cast<std::size_t>(mask_input)) + first;
    for (int64_t i = 0; i < count; ++i, seen += mask_stride) {
      const int64_t place = find(false, seen, range.size());
      if (place < range.size() && weights[i * range.row() + place] != 0)
        hide(seen, place, range.size(), 0, by_scores + i * range.row());
    }
  }
  /// The first of `count` that is `value`; `count` where none is.
  static int64_t find(bool value, const bool* seen, int64_t count) {
    const void* found = std::memchr(seen, value, static_cast<std::size_t>(count));
    return found ? static_cast<const bool*>(found) - seen : count;
  }
  /// From the first place that is hidden on: mostly nothing else, or nothing at all.
  void hide(const bool* seen, int64_t first, int64_t count, float value, float* x) const {
    if (find(true, seen + first, count - first) < count - first)
      softmax_.hide(seen + first, value, x + first, count - first);
    else
      std::fill(x + first, x + count, value);
  }

  /// The block's rows of what each key has times its row: into `result`, or where rows have no
  /// room there, by way of `own`.
  void multiply_by_keys(const float* by_key, Range range, Rows rows, int64_t columns,
                        int64_t count, float* own, float* result) const {
    float* to = rows.stride == columns ? result : own + result_;
    PanelProduct{.a = by_key,
                 .a_stride = range.row(),
                 .b = rows.values + range.begin * rows.stride,
                 .b_stride = rows.stride,
                 .panel_stride = width_,
                 .c = to,
                 .c_stride = rows.stride,
                 .rows = count,
                 .columns = columns,
                 .inner = range.size()}
        .run(tiles_);
    without_room(to, rows.stride, columns, count, result);
  }

  void differentiate(const KernelArgs& args, int64_t head, Range block, Range range, Rows by_key,
                     const float* weights, float* own, float* key_sums, float* value_sums) const {
    const int64_t first = head * queries + block.begin, count = block.size();
    const Rows query =
        with_room(args.input<float>(0) + first * depth, depth, count, own + queries_, row_);
    const Rows grad = with_room(args.input<float>(3) + first * value_depth, value_depth, count,
                                own + grads_, value_row_);
    add_product(weights, range, grad, value_depth, count, value_sums);
    multiply_by_turned(grad.values, grad.stride, own + values_, value_depth, count, range,
                       own + scores_, 0);
    softmax_.gradient(weights, own + scores_, static_cast<float>(scale), count, range.row());
    if (is_boolean_)
      mask_gradients(args, mask_at(head, block, range), count, range, weights, own + scores_);
    add_product(own + scores_, range, query, depth, count, key_sums);
    multiply_by_keys(own + scores_, range, by_key, depth, count, own,
                     args.output<float>(0) + first * depth);
  }

  /// To each key's sum, what the block's queries have for it times their rows.
  void add_product(const float* by_key, Range range, Rows rows, int64_t columns, int64_t count,
                   float* sums) const {
    PanelProduct{.a = by_key,
                 .a_stride = range.row(),
                 .transpose_a = true,
                 .b = rows.values,
                 .b_stride = rows.stride,
                 .panel_stride = width_,
                 .c = sums + range.begin * rows.stride,
                 .c_stride = rows.stride,
                 .rows = range.size(),
                 .columns = columns,
                 .inner = count,
                 .adds = true}
        .run(tiles_);
  }

  void write_sums(const KernelArgs& args, int64_t head, const float* key_sums,
                  const float* value_sums) const {
    without_room(key_sums, row_, depth, keys, args.output<float>(1) + head * keys * depth);
    without_room(value_sums, value_row_, value_depth, keys,
                 args.output<float>(2) + head * keys * value_depth);
  }

  bool has_grad_, is_boolean_;
  bool may_skip_;  ///< keys that a mask hides: no weight falls on them
  const TileTable& tiles_;
  const SoftmaxRows<float>& softmax_;
  int64_t width_;  ///< of a panel
  int64_t row_, value_row_;
  int64_t segments_ = 1;            ///< of a head's queries
  int64_t blocks_ = 1, block_ = 1;  ///< of a segment, and queries in one
  int64_t parts_ = 1;
  /// Of a part's work memory, where each matrix begins, in floats.
  int64_t turned_keys_ = 0, queries_ = 0, scores_ = 0, weights_ = 0, result_ = 0, values_ = 0,
          keys_ = 0, grads_ = 0, sums_ = 0;
  int64_t part_floats_ = 0, sums_floats_ = 0;
};

template <bool HasGrad>
Kernel make_blocked(const KernelSite& site) {
  if (Attention(site.node()).inner_heads > 1) return {};
  BlockedAttention attention(site, HasGrad);
  const std::size_t workspace = attention.workspace_bytes();
  return {std::move(attention), workspace};
}

}  // namespace

void register_blocked_attention_kernels(KernelRegistry& registry) {
  registry.add_faster("fused_attention", kCpu, {float32}, make_blocked<false>);
  registry.add_faster("fused_attention_grad", kCpu, {float32}, make_blocked<true>);
}

}  // namespace gradgraph

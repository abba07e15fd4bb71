#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "noise.h"

/// Attention as users write it, with masks of all kinds.
namespace gradgraph::tests {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

enum class MaskKind : std::uint8_t { none, causal, window, scattered, head, added, nothing_seen };
inline constexpr MaskKind kMasks[] = {MaskKind::none,        MaskKind::causal, MaskKind::window,
                                      MaskKind::scattered,   MaskKind::head,   MaskKind::added,
                                      MaskKind::nothing_seen};

struct Sizes {
  std::int64_t batch, heads, queries, keys, depth, value_depth;

  Shape of(std::int64_t rows, std::int64_t columns) const {
    return {batch, heads, rows, columns};
  }
  Shape q() const { return of(queries, depth); }
  Shape k() const { return of(keys, depth); }
  Shape v() const { return of(keys, value_depth); }
  Shape result() const { return of(queries, value_depth); }
};
inline Tensor values(const Shape& shape, unsigned seed) {
  return noise(shape, seed).cast(float32);
}

/// Boolean but for `added`, of the shape that a mask of its kind would have.
inline Tensor mask_of(MaskKind kind, const Sizes& s) {
  if (kind == MaskKind::added) {
    Tensor mask = values({s.batch, 1, 1, s.keys}, 7);
    for (std::int64_t j = 0; j < s.keys; j += 3)
      mask.data<float>()[j] = -std::numeric_limits<float>::infinity();
    return mask;
  }
  const bool by_head = kind == MaskKind::head;
  Tensor mask(boolean, by_head ? s.of(s.queries, s.keys) : Shape{s.queries, s.keys});
  for (std::int64_t place = 0; place < mask.num_elements(); ++place) {
    const std::int64_t head = place / (s.queries * s.keys), i = place / s.keys % s.queries,
                       j = place % s.keys;
    const std::int64_t distance = i * s.keys / s.queries - j;
    mask.data<bool>()[place] = kind == MaskKind::causal         ? j <= i
                               : kind == MaskKind::window       ? distance * distance < 100
                               : kind == MaskKind::nothing_seen ? i % 60 != 7
                                                                : (3 * i + 5 * j + head) % 7 != 0;
  }
  return mask;
}

inline Output masked(Graph& graph, const Output& scores, MaskKind kind, const Sizes& s,
                     double hidden = -kInfinity) {
  if (kind == MaskKind::none) return scores;
  const Output mask = constant(graph, mask_of(kind, s));
  return kind == MaskKind::added ? scores + mask : where(mask, scores, hidden);
}

/// Attention of constants, and its gradients.
struct Network {
  Graph graph;
  Output q, k, v, result;
  std::vector<Output> fetches;

  using Build = std::function<Output(Network&)>;
  Network(const Sizes& s, const Build& build) {
    q = variable(graph, values(s.q(), 1));
    k = variable(graph, values(s.k(), 2));
    v = variable(graph, values(s.v(), 3));
    result = build(*this);
    const Output loss = sum(result * constant(graph, values(result.shape(), 4)));
    fetches = gradients({loss}, {q, k, v});
    fetches.push_back(result);
  }
};

inline Output attend(Network& n, const Sizes& s, MaskKind kind, double hidden = -kInfinity) {
  const Output scores = matmul(n.q, n.k, {.transpose_b = true}) * 0.3F;
  return matmul(softmax(masked(n.graph, scores, kind, s, hidden)), n.v);
}

}  // namespace gradgraph::tests

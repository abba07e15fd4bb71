#include "ops/nn/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "device/cpu/kernels.h"

/// The reference of attention: loops as the definition has them.
namespace gradgraph {
namespace {

struct Loops : Attention {
  explicit Loops(const KernelSite& site)
      : Attention(site.node()),
        is_boolean(mask_input >= 0 && site.input_dtype(mask_input) == boolean) {}

  bool is_boolean;

  static double product(const float* a, const float* b, std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i)
      sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
  }

  std::int64_t mask_place(std::int64_t head, std::int64_t i, std::int64_t j) const {
    return mask_of(head) * mask_size + i * mask_stride + j;
  }
  bool hides(const KernelArgs& args, std::int64_t head, std::int64_t i, std::int64_t j) const {
    return is_boolean &&
           !args.input<bool>(static_cast<std::size_t>(mask_input))[mask_place(head, i, j)];
  }

  /// How much query `i` of a head takes from each key.
  void weigh(const KernelArgs& args, std::int64_t head, std::int64_t i, double* weights) const {
    const float* query = args.input<float>(0) + (head * queries + i) * depth;
    const float* key = args.input<float>(1) + head * keys * depth;
    double largest = -std::numeric_limits<double>::infinity(), total = 0;
    for (std::int64_t j = 0; j < keys; ++j) {
      weights[j] = scale * product(query, key + j * depth, depth);
      if (hides(args, head, i, j))
        weights[j] = hidden;
      else if (mask_input >= 0 && !is_boolean)
        weights[j] += static_cast<double>(
            args.input<float>(static_cast<std::size_t>(mask_input))[mask_place(head, i, j)]);
      largest = std::max(largest, weights[j]);
    }
    for (std::int64_t j = 0; j < keys; ++j) {
      weights[j] = std::exp(weights[j] - largest);
      total += weights[j];
    }
    for (std::int64_t j = 0; j < keys; ++j) weights[j] /= total;
  }

  /// Calls body(head, query) for each.
  template <class Body>
  void for_queries(const Body& body) const {
    for (std::int64_t head = 0; head < heads; ++head)
      for (std::int64_t i = 0; i < queries; ++i) body(head, i);
  }
  std::size_t workspace_bytes(std::int64_t rows) const {
    return static_cast<std::size_t>(rows * keys) * sizeof(double);
  }
};

/// to += factor * from
void add_scaled(double factor, const float* from, float* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    to[i] += static_cast<float>(factor * static_cast<double>(from[i]));
}

Kernel make_attention(const KernelSite& site) {
  const Loops loops(site);
  if (loops.inner_heads > 1) return {};
  return {[loops](const KernelArgs& args) {
            auto* weights = static_cast<double*>(args.workspace);
            loops.for_queries([&](std::int64_t head, std::int64_t i) {
              loops.weigh(args, head, i, weights);
              const std::int64_t row = row_of_scores(loops.keys);
              if (loops.keeps_weights)
                std::copy_n(weights, loops.keys,
                            args.output<float>(1) + (head * loops.queries + i) * row);
              const float* value = args.input<float>(2) + head * loops.keys * loops.value_depth;
              float* result =
                  args.output<float>() + (head * loops.queries + i) * loops.value_depth;
              for (std::int64_t c = 0; c < loops.value_depth; ++c) {
                double sum = 0;
                for (std::int64_t j = 0; j < loops.keys; ++j)
                  sum += weights[j] * static_cast<double>(value[j * loops.value_depth + c]);
                result[c] = static_cast<float>(sum);
              }
            });
          },
          loops.workspace_bytes(1)};
}

Kernel make_grad(const KernelSite& site) {
  const Loops loops(site);
  if (loops.inner_heads > 1) return {};
  return {
      [loops](const KernelArgs& args) {
        const std::int64_t keys = loops.keys, depth = loops.depth;
        auto* weights = static_cast<double*>(args.workspace);
        double* by_weight = weights + keys;
        std::fill_n(args.output<float>(0), loops.heads * loops.queries * depth, 0.f);
        std::fill_n(args.output<float>(1), loops.heads * keys * depth, 0.f);
        std::fill_n(args.output<float>(2), loops.heads * keys * loops.value_depth, 0.f);
        loops.for_queries([&](std::int64_t head, std::int64_t i) {
          const float* kept = args.input<float>(args.inputs.size() - 1);
          if (loops.keeps_weights)
            std::copy_n(kept + (head * loops.queries + i) * row_of_scores(keys), keys, weights);
          else
            loops.weigh(args, head, i, weights);
          const std::int64_t query = (head * loops.queries + i) * depth;
          const float* grad =
              args.input<float>(3) + (head * loops.queries + i) * loops.value_depth;
          double total = 0;
          for (std::int64_t j = 0; j < keys; ++j) {
            const std::int64_t value = (head * keys + j) * loops.value_depth;
            by_weight[j] = Loops::product(grad, args.input<float>(2) + value, loops.value_depth);
            total += weights[j] * by_weight[j];
            add_scaled(weights[j], grad, args.output<float>(2) + value, loops.value_depth);
          }
          for (std::int64_t j = 0; j < keys; ++j) {
            if (loops.hides(args, head, i, j)) continue;
            const double by_product = loops.scale * weights[j] * (by_weight[j] - total);
            const std::int64_t key = (head * keys + j) * depth;
            add_scaled(by_product, args.input<float>(1) + key, args.output<float>(0) + query,
                       depth);
            add_scaled(by_product, args.input<float>(0) + query, args.output<float>(1) + key,
                       depth);
          }
        });
      },
      loops.workspace_bytes(2)};
}

}  // namespace

void register_attention_kernels(KernelRegistry& registry) {
  registry.add("fused_attention", kCpu, {float32}, make_attention);
  registry.add("fused_attention_grad", kCpu, {float32}, make_grad);
}

}  // namespace gradgraph

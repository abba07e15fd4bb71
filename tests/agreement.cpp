#include "agreement.h"

#include <algorithm>
#include <cmath>

#include "special_values.h"

namespace gradgraph::tests {

std::string find_disagreement(const Tensor& actual, const Tensor& expected, double tolerance,
                              bool changes_more) {
  if (!expected) return actual ? "there is a value" : "";
  double scale = 1;
  const Tensor numbers = expected.cast(float64);
  for (const double value : numbers.span<double>())
    if (std::isfinite(value)) scale = std::max(scale, std::fabs(value));
  const auto comparable = [&](const Tensor& tensor) {
    if (!changes_more || !is_floating(tensor.dtype()) || tensor.shape() != expected.shape())
      return tensor;
    Tensor result = tensor.cast(float64);
    for (std::int64_t i = 0; i < result.num_elements(); ++i) {
      double& x = result.data<double>()[i];
      x = std::isfinite(numbers.data<double>()[i]) ? x + 0.0 : 0;
    }
    return result.cast(tensor.dtype());
  };
  return find_difference(comparable(actual), comparable(expected), tolerance, scale);
}

bool may_change_more(Session& session, const Feeds& feeds, const std::vector<Output>& fetches) {
  std::vector<std::string> parts = {
      "log_softmax[", "fuse_reductions", "assign_layout",          "fuse_attention",
      "fuse_pooling", "merge_products",  "the product transposes", "softmax_cross_entropy_grad"};
  if (epilogues_round_otherwise()) parts.push_back("fuse_epilogue");
  const std::string lines = session.explain_passes(feeds, fetches);
  return std::ranges::any_of(
      parts, [&](const std::string& part) { return lines.find(part) != std::string::npos; });
}

}  // namespace gradgraph::tests

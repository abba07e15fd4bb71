#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "op_rows.h"

/// Rows whose inputs, options and values are in golden/op_values.json.
namespace gradgraph::tests {

/// A case's options, under the names of the op's option struct.
struct GoldenOptions {
  std::map<std::string, std::vector<std::int64_t>, std::less<>> numbers;
  std::map<std::string, std::string, std::less<>> texts;

  std::vector<std::int64_t> list(std::string_view name) const;
  std::int64_t number(std::string_view name, std::int64_t fallback) const;
  Pair pair(std::string_view name, std::int64_t fallback) const;
  Padding padding() const;
  Border border() const;
  Layout layout() const;
};

using GoldenBuild = std::function<Output(const std::vector<Output>&, const GoldenOptions&)>;

/// Adds two rows for every case of `op`: one in float32, and one in float64 to 1e-12 with its
/// gradients. `adjust` may change them.
void add_golden_rows(std::vector<OpRow>& rows, std::string_view op, const GoldenBuild& build,
                     const std::function<void(OpRow&)>& adjust = {});

}  // namespace gradgraph::tests

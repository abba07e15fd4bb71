#pragma once

#include <random>
#include <vector>

#include "op_rows.h"

/// Graphs of rows, and what their gradients are taken of.
namespace gradgraph::tests {

enum class Dims { known, unknown };

/// A row's graph for given inputs, fed through placeholders.
struct RowGraph {
  RowGraph(const OpRow& row, const std::vector<Tensor>& values, Dims dims);
  std::vector<Tensor> run(const std::vector<Output>& fetches);

  Graph graph;
  std::vector<Output> inputs, outputs;
  Feeds feeds;
};

/// Positive and negative weights away from 0, the same in every run of the tests.
Tensor weights(const Shape& shape, std::mt19937_64& generator);
/// sum(weights * values): every element counts, each differently.
Output weighted_sum(const std::vector<Output>& values, const std::vector<Shape>& shapes);
std::vector<Shape> shapes_of(const std::vector<Tensor>& values);
std::vector<int> differentiable_inputs(const OpRow& row);
std::vector<Output> pick(const std::vector<Output>& values, const std::vector<int>& indices);

}  // namespace gradgraph::tests

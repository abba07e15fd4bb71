#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "noise.h"

/// Kernels that move and sum, against loops over every index, on shapes that are large enough for
/// their blocks, joined axes and threads.
using namespace gradgraph;

namespace {

using Ints = std::vector<std::int64_t>;

Tensor iota(DType dtype, const Shape& shape) {
  Tensor tensor(float64, shape);
  std::iota(tensor.data<double>(), tensor.data<double>() + tensor.num_elements(), 0.0);
  if (size_of(dtype) == 1)  // far fewer values than elements
    for (double& value : tensor.span<double>()) value = std::fmod(value, 251);
  return tensor.cast(dtype);
}

/// What the CPU's kernel makes of a node whose inputs are constants.
std::vector<Tensor> compute(const Node& node, int threads) {
  std::vector<Tensor> outputs;
  std::vector<const void*> inputs;
  std::vector<void*> results;
  for (const Output& input : node.inputs())
    inputs.push_back(input.node().attributes().get<Tensor>("value").raw());
  for (int i = 0; i < node.num_outputs(); ++i) {
    outputs.push_back(Tensor::full(node.dtype(i), node.shape(i), 77));
    results.push_back(outputs.back().raw());
  }
  const Kernel kernel = kernel_registry().make(KernelSite(node, threads), "cpu");
  REQUIRE(kernel);
  std::vector<char> workspace(kernel.workspace_bytes);
  const RunInfo run;
  kernel.run({inputs, results, workspace.data(), &run});
  return outputs;
}

/// `tensor` as float64 by index.
class Indexed {
 public:
  explicit Indexed(const Tensor& tensor) : values_(tensor.cast(float64)) {}
  double operator()(const Ints& index) const {
    std::int64_t offset = 0;
    for (int axis = 0; axis < values_.shape().rank(); ++axis)
      offset = offset * values_.shape()[axis] + index[static_cast<std::size_t>(axis)];
    return values_.data<double>()[offset];
  }

 private:
  Tensor values_;
};

/// Checks that `actual` at every index is `expected(index)`.
template <class Expected>
void check_each(const Tensor& actual, const Expected& expected) {
  const Tensor values = actual.cast(float64);
  const Shape& shape = actual.shape();
  Ints index(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t i = 0; i < actual.num_elements(); ++i) {
    std::int64_t rest = i;
    for (int axis = shape.rank(); axis-- > 0; rest /= shape[axis])
      index[static_cast<std::size_t>(axis)] = rest % shape[axis];
    const double wanted = expected(index);
    if (values.data<double>()[i] == wanted) continue;
    FAIL_CHECK("element " << i << " of " << shape.to_string() << " is "
                          << values.data<double>()[i] << ", not " << wanted);
    return;
  }
}

/// Shapes of every kind: empty, ones, longer than a block on either side, many axes.
const std::vector<Shape> kShapes = {
    {},         {1},         {5},           {0, 3},          {37, 41},
    {3, 1, 70}, {65, 3, 33}, {2, 100, 301}, {4, 5, 6, 7, 2}, {2, 3, 2, 1, 3, 2, 2, 4}};
const std::vector<DType> kEverySize = {uint8, float32, float64, boolean};

}  // namespace

TEST_CASE("transpose moves every element, whatever the permutation") {
  std::mt19937 random(1);
  for (const Shape& shape : kShapes)
    for (const DType dtype : kEverySize)
      for (int trial = 0; trial < 4; ++trial) {
        Ints permutation(static_cast<std::size_t>(shape.rank()));
        std::iota(permutation.begin(), permutation.end(), 0);
        std::shuffle(permutation.begin(), permutation.end(), random);
        Graph graph;
        const Tensor x = iota(dtype, shape);
        const Output y = transpose(constant(graph, x), permutation);
        const Indexed from(x);
        if (shape.rank() < 2) continue;
        CAPTURE(permutation);
        check_each(compute(y.node(), 1 + trial % 2)[0], [&](const Ints& index) {
          Ints source(index.size());
          for (std::size_t i = 0; i < index.size(); ++i)
            source[static_cast<std::size_t>(permutation[i])] = index[i];
          return from(source);
        });
      }
}

TEST_CASE("slice, pad and tile move every element") {
  std::mt19937 random(2);
  const auto upto = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n + 1));
  };
  for (const Shape& shape : kShapes)
    for (const DType dtype : kEverySize) {
      Ints begin, size, before, after, multiples;
      for (const std::int64_t dim : shape) {
        begin.push_back(upto(dim));
        size.push_back(upto(dim - begin.back()));
        before.push_back(upto(2));
        after.push_back(upto(2));
        multiples.push_back(upto(2));
      }
      Graph graph;
      const Tensor x = iota(dtype, shape);
      const Indexed from(x);
      const Output input = constant(graph, x);
      const auto moved = [&](const Ints& index, auto where) {
        Ints source(index.size());
        for (std::size_t i = 0; i < index.size(); ++i) {
          source[i] = where(index[i], i);
          if (source[i] < 0 || source[i] >= shape[static_cast<int>(i)]) return 1.0;
        }
        return from(source);
      };
      check_each(compute(slice(input, begin, size).node(), 2)[0], [&](const Ints& index) {
        return moved(index, [&](std::int64_t at, std::size_t i) { return at + begin[i]; });
      });
      check_each(compute(pad(input, before, after, 1).node(), 2)[0], [&](const Ints& index) {
        return moved(index, [&](std::int64_t at, std::size_t i) { return at - before[i]; });
      });
      check_each(compute(tile(input, multiples).node(), 2)[0], [&](const Ints& index) {
        return moved(index, [&](std::int64_t at, std::size_t i) {
          return at % shape[static_cast<int>(i)];
        });
      });
    }
}

TEST_CASE("split undoes concat along every axis") {
  for (const DType dtype : kEverySize)
    for (int axis = 0; axis < 3; ++axis) {
      Graph graph;
      const Shape shape = {40, 30, 35};
      const Tensor x = iota(dtype, shape);
      const Ints sizes = {1, 0, 12, shape[axis] - 13};
      const auto parts = compute(split(constant(graph, x), sizes, axis)[0].node(), 2);
      std::vector<Output> inputs;
      for (const Tensor& part : parts) inputs.push_back(constant(graph, part));
      const Tensor joined = compute(concat(inputs, axis).node(), 2)[0];
      const Indexed whole(x);
      check_each(joined, whole);
      check_each(parts[3], [&](Ints index) {
        index[static_cast<std::size_t>(axis)] += 13;
        return whole(index);
      });
    }
}

TEST_CASE("sums over any axes are exact for integers and close for floats") {
  std::mt19937 random(3);
  for (const Shape& shape : kShapes)
    for (const DType dtype : {int32, int64, uint8, float32, float64})
      for (int trial = 0; trial < 6; ++trial) {
        Shape to = shape;
        for (int axis = 0; axis < shape.rank(); ++axis)
          if (random() % 2 == 0) to.set(axis, 1);
        Graph graph;
        const Tensor x = iota(dtype, shape);
        const Tensor values = x.cast(float64);
        Tensor sums = Tensor::zeros(float64, to);
        for (std::int64_t i = 0; i < x.num_elements(); ++i) {
          std::int64_t rest = i, at = 0, stride = 1;
          for (int axis = shape.rank(); axis-- > 0; rest /= shape[axis]) {
            at += to[axis] == 1 ? 0 : rest % shape[axis] * stride;
            stride *= to[axis];
          }
          sums.data<double>()[at] += values.data<double>()[i];
        }
        const Tensor actual =
            compute(sum_to(constant(graph, x), to).node(), 1 + trial % 3)[0].cast(float64);
        CAPTURE(shape.to_string());
        CAPTURE(to.to_string());
        CAPTURE(dtype);
        for (std::int64_t i = 0; i < sums.num_elements(); ++i) {
          double wanted = sums.data<double>()[i];
          if (dtype == uint8) wanted = std::fmod(wanted, 256);
          const double error = std::fabs(actual.data<double>()[i] - wanted);
          if (error <= (dtype == float32 ? 1e-6 * std::fabs(wanted) : 0)) continue;
          FAIL_CHECK("sum " << i << " is " << actual.data<double>()[i] << ", not " << wanted);
          break;
        }
      }
}

TEST_CASE("a sum does not depend on the number of threads and stays accurate in float32") {
  for (const Shape& shape : {Shape{1 << 20}, Shape{70000, 24}, Shape{24, 70000}, Shape{300, 900},
                             Shape{9, 64, 1000}, Shape{40000, 7, 3}}) {
    Tensor x(float32, shape);
    std::mt19937 random(4);
    for (float& value : x.span<float>()) value = static_cast<float>(random() % 1000) / 1000.0f;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      Shape to = shape;
      to.set(axis, 1);
      Graph graph;
      const Output input = constant(graph, x), wide = constant(graph, x.cast(float64));
      const Tensor one = compute(sum_to(input, to).node(), 1)[0];
      const Tensor three = compute(sum_to(input, to).node(), 3)[0];
      const Tensor exact = compute(sum_to(wide, to).node(), 1)[0];
      CAPTURE(shape.to_string());
      CAPTURE(axis);
      CHECK(std::ranges::equal(one.span<float>(), three.span<float>()));
      double worst = 0;
      for (std::int64_t i = 0; i < one.num_elements(); ++i)
        worst = std::max(worst, std::fabs(one.data<float>()[i] / exact.data<double>()[i] - 1));
      CHECK(worst < 5e-7);
    }
  }
}

TEST_CASE("gather and scatter_add on large tables") {
  Graph graph;
  std::mt19937 random(5);
  Tensor indices(int32, {7, 400});
  for (std::int32_t& index : indices.span<std::int32_t>())
    index = static_cast<std::int32_t>(random() % 50);
  for (int axis = 0; axis < 3; ++axis) {
    const Shape shape = {axis == 0 ? 50 : 3, axis == 1 ? 50 : 4, axis == 2 ? 50 : 5};
    const Tensor x = iota(float64, shape);
    const Tensor picked =
        compute(gather(constant(graph, x), constant(graph, indices), axis).node(), 2)[0];
    const auto along = static_cast<std::size_t>(axis);
    const Indexed from(x), at(indices);
    const auto source = [&](Ints index) {
      index[along] = static_cast<std::int64_t>(at({index[along], index[along + 1]}));
      index.erase(index.begin() + axis + 1);
      return index;
    };
    check_each(picked, [&](const Ints& index) { return from(source(index)); });

    Tensor sums = Tensor::zeros(float64, shape);
    Ints index(4);
    const Shape& moved = picked.shape();
    for (std::int64_t i = 0; i < picked.num_elements(); ++i) {
      std::int64_t rest = i;
      for (int k = 4; k-- > 0; rest /= moved[k])
        index[static_cast<std::size_t>(k)] = rest % moved[k];
      const Ints to = source(index);
      sums.data<double>()[(to[0] * shape[1] + to[1]) * shape[2] + to[2]] +=
          picked.data<double>()[i];
    }
    const Output scattered =
        scatter_add(shape, constant(graph, indices), constant(graph, picked), axis);
    check_each(compute(scattered.node(), 2)[0], Indexed(sums));
  }
}

TEST_CASE("wide and narrow rows are added up in the order of the indices by any threads") {
  for (const std::int64_t blocks : {1, 2, 5})
    for (const std::int64_t columns : {1, 15, 16, 33, 100}) {
      CAPTURE(columns);
      Graph graph;
      std::mt19937 random(7);
      Tensor indices(int64, {3000});
      for (std::int64_t& index : indices.span<std::int64_t>())
        index = static_cast<std::int64_t>(random() % 40);
      const Tensor rows = tests::noise({blocks, 3000, columns}, 3, float32);
      Tensor sums = Tensor::zeros(float32, {blocks, 40, columns});
      for (std::int64_t b = 0; b < blocks; ++b)
        for (std::int64_t i = 0; i < 3000; ++i)
          for (std::int64_t j = 0; j < columns; ++j)
            sums.data<float>()[(b * 40 + indices.data<std::int64_t>()[i]) * columns + j] +=
                rows.data<float>()[(b * 3000 + i) * columns + j];
      const Output scattered =
          scatter_add({blocks, 40, columns}, constant(graph, indices), constant(graph, rows), 1);
      for (const int threads : {1, 2, 3, 7})
        CHECK(std::ranges::equal(compute(scattered.node(), threads)[0].span<float>(),
                                 sums.span<float>()));
    }
}

TEST_CASE("an index out of range is refused, with its number and the bound") {
  Graph graph;
  const Output x = constant(graph, Tensor{1.f, 2.f, 3.f});
  const auto message = [](const Output& output) {
    try {
      compute(output.node(), 1);
    } catch (const KernelError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const Output high = constant(graph, Tensor{0, 2, 3}), low = constant(graph, Tensor{-1});
  CHECK(message(gather(x, high)) == "index 3 (number 2) is outside [0,3)");
  CHECK(message(gather(x, low)) == "index -1 (number 0) is outside [0,3)");
  CHECK(message(scatter_add({2}, high, x)) == "index 2 (number 1) is outside [0,2)");
}

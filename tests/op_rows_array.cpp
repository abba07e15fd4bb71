#include "op_rows.h"

#include <type_traits>

/// Values are NumPy's. Those of the random ops come from a Philox written in Python, under the
/// key of seed 0, step 0 and the op's own name.
namespace gradgraph::tests {
namespace {

using Outputs = std::vector<Output>;

const std::vector<DType> kAll = {float64, int32, int64, uint8, boolean};
const std::vector<DType> kNumbers = {float64, int32, int64, uint8};

const Tensor kMatrix = {{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}};
const Tensor kBits = {{1.f, 0.f, 1.f}, {0.f, 0.f, 1.f}};
const Tensor kCube = {{{1.f, 2.f}, {3.f, 4.f}}, {{5.f, 6.f}, {7.f, 8.f}}};
const Tensor kEmpty(float32, {0, 3});
const Tensor kFive(5.f);

using In = const Outputs&;

/// Adds rows to one family: `also` and `gradient` are the same for most of them.
class Table {
 public:
  Table(std::vector<OpRow>& rows, std::vector<DType> also, bool gradient = true)
      : rows_(rows), also_(std::move(also)), gradient_(gradient) {}

  /// `build` returns an Output or several.
  template <class Build>
  Table& add(std::string name, std::vector<Tensor> inputs, Build build,
             std::vector<Tensor> expected) {
    OpRow& row = rows_.emplace_back();
    row.name = std::move(name);
    row.inputs = std::move(inputs);
    if constexpr (std::is_same_v<std::invoke_result_t<Build, In>, Output>)
      row.build = [build](In in) { return Outputs{build(in)}; };
    else
      row.build = build;
    row.expected = std::move(expected);
    row.also = also_;
    row.gradient = gradient_;
    return *this;
  }
  Table& also(std::vector<DType> dtypes) { return rows_.back().also = std::move(dtypes), *this; }
  Table& with_gradient() { return rows_.back().gradient = true, *this; }
  Table& without_gradient() { return rows_.back().gradient = false, *this; }
  Table& with_known_dims() { return rows_.back().unknown_dims = false, *this; }

 private:
  std::vector<OpRow>& rows_;
  std::vector<DType> also_;
  bool gradient_;
};

Tensor ints(const std::vector<std::int64_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}
Output vector(Output beside, const std::vector<std::int64_t>& values) {
  return constant(beside.graph(), ints(values));
}

void add_shape_rows(Table table) {
  table.add("shape_of/matrix", {kMatrix}, [](In in) { return shape_of(in[0]); }, {ints({2, 3})})
      .without_gradient();
  table
      .add("shape_of/scalar", {kFive}, [](In in) { return shape_of(in[0]); },
           {Tensor(int64, {0})})
      .without_gradient();
  table.add("reshape/plain", {kMatrix},
            [](In in) {
              return reshape(in[0], {3, 2});
            },
            {Tensor{{1.f, 2.f}, {3.f, 4.f}, {5.f, 6.f}}});
  table.add("reshape/booleans", {kBits},
            [](In in) {
              return reshape(in[0], {3, 2});
            },
            {Tensor{{1.f, 0.f}, {1.f, 0.f}, {0.f, 1.f}}});
  table.add("reshape/left_over", {kMatrix},
            [](In in) {
              return reshape(in[0], {-1, 2});
            },
            {Tensor{{1.f, 2.f}, {3.f, 4.f}, {5.f, 6.f}}});
  table.add("reshape/to_scalar", {Tensor{5.f}}, [](In in) { return reshape(in[0], {}); },
            {kFive});
  table.add("reshape/from_scalar", {kFive},
            [](In in) {
              return reshape(in[0], {1, -1});
            },
            {Tensor{{5.f}}});
  table.add("reshape/empty", {kEmpty},
            [](In in) {
              return Outputs{reshape(in[0], {-1, 3}), reshape(in[0], {3, 0})};
            },
            {kEmpty, Tensor(float32, {3, 0})});
  table.add(
      "reshape/computed_shape", {kCube},
      [](In in) {
        return reshape(in[0], concat({slice(shape_of(in[0]), {0}, {1}), vector(in[0], {4})}, 0));
      },
      {Tensor{{1.f, 2.f, 3.f, 4.f}, {5.f, 6.f, 7.f, 8.f}}});
  table.add("flatten/cube", {kCube}, [](In in) { return flatten(in[0]); },
            {Tensor{{1.f, 2.f, 3.f, 4.f}, {5.f, 6.f, 7.f, 8.f}}});
  table.add("flatten/vector", {Tensor{1.f, 2.f, 3.f}}, [](In in) { return flatten(in[0]); },
            {Tensor{{1.f}, {2.f}, {3.f}}});
  table.add("flatten/empty", {Tensor(float32, {0, 2, 2})}, [](In in) { return flatten(in[0]); },
            {Tensor(float32, {0, 4})});
  table.add("expand_dims/first", {kMatrix}, [](In in) { return expand_dims(in[0], 0); },
            {Tensor{{{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}}}});
  table.add("expand_dims/middle", {kMatrix}, [](In in) { return expand_dims(in[0], 1); },
            {Tensor{{{1.f, 2.f, 3.f}}, {{4.f, 5.f, 6.f}}}});
  table.add("expand_dims/negative", {kMatrix}, [](In in) { return expand_dims(in[0], -1); },
            {Tensor{{{1.f}, {2.f}, {3.f}}, {{4.f}, {5.f}, {6.f}}}});
  table.add("expand_dims/scalar", {kFive}, [](In in) { return expand_dims(in[0], 0); },
            {Tensor{5.f}});
  table.add("expand_dims/empty", {kEmpty}, [](In in) { return expand_dims(in[0], 1); },
            {Tensor(float32, {0, 1, 3})});
  table
      .add("squeeze/all", {Tensor{{{1.f}, {2.f}}}}, [](In in) { return squeeze(in[0]); },
           {Tensor{1.f, 2.f}})
      .with_known_dims();
  table.add("squeeze/axes", {Tensor{{{1.f}, {2.f}}}},
            [](In in) {
              return squeeze(in[0], {0, -1});
            },
            {Tensor{1.f, 2.f}});
  table.add("squeeze/to_scalar", {Tensor{{5.f}}},
            [](In in) {
              return squeeze(in[0], {0, 1});
            },
            {kFive});
  table.add("squeeze/empty", {Tensor(float32, {1, 0})}, [](In in) { return squeeze(in[0], 0); },
            {Tensor(float32, {0})});
  table.add("identity/matrix", {kMatrix}, [](In in) { return identity(in[0]); }, {kMatrix});
  table.add("identity/scalar", {kFive}, [](In in) { return identity(in[0]); }, {kFive});
  table
      .add("stop_gradient/matrix", {kMatrix}, [](In in) { return stop_gradient(in[0]); },
           {kMatrix})
      .without_gradient();
  table
      .add("stop_gradient/one_path", {Tensor{1.f, 2.f, 3.f}},
           [](In in) { return in[0] * in[0] - stop_gradient(in[0] * in[0]) + in[0] * in[0]; },
           {Tensor{1.f, 4.f, 9.f}})
      .without_gradient();
}

void add_repeating_rows(Table table) {
  table.add("broadcast_to/rows", {Tensor{1.f, 2.f, 3.f}},
            [](In in) {
              return broadcast_to(in[0], {2, 3});
            },
            {Tensor{{1.f, 2.f, 3.f}, {1.f, 2.f, 3.f}}});
  table.add("broadcast_to/booleans", {Tensor{1.f, 0.f, 1.f}},
            [](In in) {
              return broadcast_to(in[0], {2, 3});
            },
            {Tensor{{1.f, 0.f, 1.f}, {1.f, 0.f, 1.f}}});
  table.add("broadcast_to/columns", {Tensor{{1.f}, {4.f}}},
            [](In in) {
              return broadcast_to(in[0], {2, 2, 3});
            },
            {Tensor{{{1.f, 1.f, 1.f}, {4.f, 4.f, 4.f}}, {{1.f, 1.f, 1.f}, {4.f, 4.f, 4.f}}}});
  table.add("broadcast_to/scalar", {kFive},
            [](In in) {
              return broadcast_to(in[0], {2, 2});
            },
            {Tensor{{5.f, 5.f}, {5.f, 5.f}}});
  table.add("broadcast_to/empty", {Tensor{{1.f, 2.f, 3.f}}},
            [](In in) {
              return broadcast_to(in[0], {0, 3});
            },
            {kEmpty});
  table.add("broadcast_to/computed_shape", {Tensor{1.f, 2.f, 3.f}, kMatrix},
            [](In in) { return broadcast_to(in[0], shape_of(in[1])); },
            {Tensor{{1.f, 2.f, 3.f}, {1.f, 2.f, 3.f}}});
  table
      .add("sum_to/rows", {kMatrix}, [](In in) { return sum_to(in[0], {3}); },
           {Tensor{5.f, 7.f, 9.f}})
      .also(kNumbers);
  table
      .add("sum_to/columns", {kMatrix},
           [](In in) {
             return sum_to(in[0], {2, 1});
           },
           {Tensor{{6.f}, {15.f}}})
      .also(kNumbers);
  table.add("sum_to/scalar", {kMatrix}, [](In in) { return sum_to(in[0], {}); }, {Tensor(21.f)})
      .also(kNumbers);
  table
      .add("sum_to/inner_axis", {kCube},
           [](In in) {
             return sum_to(in[0], {2, 1, 2});
           },
           {Tensor{{{4.f, 6.f}}, {{12.f, 14.f}}}})
      .also(kNumbers);
  table
      .add("sum_to/outer_axes", {kCube},
           [](In in) {
             return sum_to(in[0], {1, 2, 1});
           },
           {Tensor{{{14.f}, {22.f}}}})
      .also(kNumbers);
  table.add("sum_to/same", {kMatrix},
            [](In in) {
              return sum_to(in[0], {2, 3});
            },
            {kMatrix})
      .also(kNumbers);
  table
      .add("sum_to/of_nothing", {kEmpty},
           [](In in) {
             return Outputs{sum_to(in[0], {3}), sum_to(in[0], {0, 1})};
           },
           {Tensor{0.f, 0.f, 0.f}, Tensor(float32, {0, 1})})
      .also(kNumbers);
  table.add("fill/plain", {kFive},
            [](In in) {
              return fill({2, 3}, in[0]);
            },
            {Tensor{{5.f, 5.f, 5.f}, {5.f, 5.f, 5.f}}});
  table.add("fill/like", {kFive, kEmpty}, [](In in) { return fill(shape_of(in[1]), in[0]); },
            {kEmpty});
  table.add("fill/scalar", {Tensor(1.f)}, [](In in) { return fill({}, in[0]); }, {Tensor(1.f)});
  table.add("zeros_like/matrix", {kMatrix}, [](In in) { return zeros_like(in[0]); },
            {Tensor{{0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}});
  table.add("ones_like/matrix", {kMatrix}, [](In in) { return ones_like(in[0]); },
            {Tensor{{1.f, 1.f, 1.f}, {1.f, 1.f, 1.f}}});
  table.add("tile/both_axes", {kMatrix},
            [](In in) {
              return tile(in[0], {2, 3});
            },
            {Tensor{{1.f, 2.f, 3.f, 1.f, 2.f, 3.f, 1.f, 2.f, 3.f},
                    {4.f, 5.f, 6.f, 4.f, 5.f, 6.f, 4.f, 5.f, 6.f},
                    {1.f, 2.f, 3.f, 1.f, 2.f, 3.f, 1.f, 2.f, 3.f},
                    {4.f, 5.f, 6.f, 4.f, 5.f, 6.f, 4.f, 5.f, 6.f}}});
  table.add("tile/booleans", {kBits},
            [](In in) {
              return tile(in[0], {2, 1});
            },
            {Tensor{{1.f, 0.f, 1.f}, {0.f, 0.f, 1.f}, {1.f, 0.f, 1.f}, {0.f, 0.f, 1.f}}});
  table.add("tile/one_axis", {kCube},
            [](In in) {
              return tile(in[0], {1, 2, 1});
            },
            {Tensor{{{1.f, 2.f}, {3.f, 4.f}, {1.f, 2.f}, {3.f, 4.f}},
                    {{5.f, 6.f}, {7.f, 8.f}, {5.f, 6.f}, {7.f, 8.f}}}});
  table.add("tile/scalar", {kFive}, [](In in) { return tile(in[0], {}); }, {kFive});
  table.add("tile/zero_times", {kMatrix}, [](In in) { return tile(in[0], {0, 1}); }, {kEmpty});
  table.add("tile/empty", {kEmpty},
            [](In in) {
              return tile(in[0], {2, 2});
            },
            {Tensor(float32, {0, 6})});
}

void add_movement_rows(Table table) {
  table.add("transpose/matrix", {kMatrix}, [](In in) { return transpose(in[0]); },
            {Tensor{{1.f, 4.f}, {2.f, 5.f}, {3.f, 6.f}}});
  table.add("transpose/booleans", {kBits}, [](In in) { return transpose(in[0]); },
            {Tensor{{1.f, 0.f}, {0.f, 0.f}, {1.f, 1.f}}});
  table.add("transpose/permutation", {Tensor{{{1.f, 3.f}, {3.f, 5.f}}, {{5.f, 7.f}, {7.f, 9.f}}}},
            [](In in) {
              return transpose(in[0], {1, 2, 0});
            },
            {Tensor{{{1.f, 5.f}, {3.f, 7.f}}, {{3.f, 7.f}, {5.f, 9.f}}}});
  table.add("transpose/negative_axes", {kCube},
            [](In in) {
              return transpose(in[0], {0, -1, -2});
            },
            {Tensor{{{1.f, 3.f}, {2.f, 4.f}}, {{5.f, 7.f}, {6.f, 8.f}}}});
  table.add("transpose/scalar", {kFive}, [](In in) { return transpose(in[0]); }, {kFive});
  table.add("transpose/empty", {kEmpty}, [](In in) { return transpose(in[0]); },
            {Tensor(float32, {3, 0})});
  table.add("concat/rows", {kMatrix, Tensor{{1.f, 2.f, 3.f}}},
            [](In in) {
              return concat({in[0], in[1]}, 0);
            },
            {Tensor{{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}, {1.f, 2.f, 3.f}}});
  table.add("concat/columns", {kMatrix, kBits},
            [](In in) {
              return concat({in[0], in[1], in[0]}, -1);
            },
            {Tensor{{1.f, 2.f, 3.f, 1.f, 0.f, 1.f, 1.f, 2.f, 3.f},
                    {4.f, 5.f, 6.f, 0.f, 0.f, 1.f, 4.f, 5.f, 6.f}}});
  table.add("concat/booleans", {kBits, kBits},
            [](In in) {
              return concat({in[0], in[1]}, 1);
            },
            {Tensor{{1.f, 0.f, 1.f, 1.f, 0.f, 1.f}, {0.f, 0.f, 1.f, 0.f, 0.f, 1.f}}});
  table.add("concat/one_part", {kMatrix}, [](In in) { return concat({in[0]}, 0); }, {kMatrix});
  table.add("concat/empty_part", {kEmpty, kMatrix},
            [](In in) {
              return concat({in[0], in[1]}, 0);
            },
            {kMatrix});
  table.add("split/columns", {kMatrix},
            [](In in) {
              return split(in[0], {1, 2}, -1);
            },
            {Tensor{{1.f}, {4.f}}, Tensor{{2.f, 3.f}, {5.f, 6.f}}});
  table.add("split/booleans", {kBits},
            [](In in) {
              return split(in[0], {2, 1}, 1);
            },
            {Tensor{{1.f, 0.f}, {0.f, 0.f}}, Tensor{{1.f}, {1.f}}});
  table.add("split/empty_part", {kMatrix},
            [](In in) {
              return split(in[0], {0, 2}, 0);
            },
            {kEmpty, kMatrix});
  table.add("split/one_of_three", {kMatrix},
            [](In in) {
              return split(in[0], {1, 1, 1}, 1)[1];
            },
            {Tensor{{2.f}, {5.f}}});
  table.add("slice/middle", {kMatrix},
            [](In in) {
              return slice(in[0], {0, 1}, {2, 1});
            },
            {Tensor{{2.f}, {5.f}}});
  table.add("slice/booleans", {kBits},
            [](In in) {
              return slice(in[0], {0, 1}, {1, 2});
            },
            {Tensor{{0.f, 1.f}}});
  table.add("slice/to_the_end", {kMatrix},
            [](In in) {
              return slice(in[0], {1, 1}, {-1, -1});
            },
            {Tensor{{5.f, 6.f}}});
  table.add("slice/nothing", {kMatrix},
            [](In in) {
              return slice(in[0], {2, 0}, {0, 3});
            },
            {kEmpty});
  table.add("slice/scalar", {kFive}, [](In in) { return slice(in[0], {}, {}); }, {kFive});
  table.add("slice/empty", {kEmpty},
            [](In in) {
              return slice(in[0], {0, 1}, {0, 1});
            },
            {Tensor(float32, {0, 1})});
  table.add("slice/computed", {kMatrix},
            [](In in) {
              return slice(in[0], vector(in[0], {0, 1}), shape_of(in[0]) - vector(in[0], {1, 1}));
            },
            {Tensor{{2.f, 3.f}}});
  table.add(
      "pad/zeros", {kMatrix},
      [](In in) {
        return pad(in[0], {1, 0}, {0, 2});
      },
      {Tensor{{0.f, 0.f, 0.f, 0.f, 0.f}, {1.f, 2.f, 3.f, 0.f, 0.f}, {4.f, 5.f, 6.f, 0.f, 0.f}}});
  table.add(
      "pad/value", {kMatrix},
      [](In in) {
        return pad(in[0], {0, 1}, {1, 1}, 7);
      },
      {Tensor{{7.f, 1.f, 2.f, 3.f, 7.f}, {7.f, 4.f, 5.f, 6.f, 7.f}, {7.f, 7.f, 7.f, 7.f, 7.f}}});
  table.add("pad/booleans", {kBits},
            [](In in) {
              return pad(in[0], {1, 1}, {0, 0}, 1);
            },
            {Tensor{{1.f, 1.f, 1.f, 1.f}, {1.f, 1.f, 0.f, 1.f}, {1.f, 0.f, 0.f, 1.f}}});
  table.add("pad/scalar", {kFive}, [](In in) { return pad(in[0], {}, {}); }, {kFive});
  table.add("pad/empty", {kEmpty},
            [](In in) {
              return pad(in[0], {1, 0}, {1, 0}, 2);
            },
            {Tensor{{2.f, 2.f, 2.f}, {2.f, 2.f, 2.f}}});
}

void add_indexing_rows(Table table) {
  table.add("gather/rows", {kMatrix, ints({1, 0, 1})}, [](In in) { return gather(in[0], in[1]); },
            {Tensor{{4.f, 5.f, 6.f}, {1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}}});
  table.add("gather/booleans", {kBits, ints({1, 0, 1})},
            [](In in) { return gather(in[0], in[1]); },
            {Tensor{{0.f, 0.f, 1.f}, {1.f, 0.f, 1.f}, {0.f, 0.f, 1.f}}});
  table.add("gather/columns", {kMatrix, Tensor{{2, 0}, {1, 1}}},
            [](In in) { return gather(in[0], in[1], -1); },
            {Tensor{{{3.f, 1.f}, {2.f, 2.f}}, {{6.f, 4.f}, {5.f, 5.f}}}});
  table.add("gather/middle_axis", {kCube, ints({1, 0})},
            [](In in) { return gather(in[0], in[1], 1); },
            {Tensor{{{3.f, 4.f}, {1.f, 2.f}}, {{7.f, 8.f}, {5.f, 6.f}}}});
  table.add("gather/one", {kMatrix, Tensor(1)}, [](In in) { return gather(in[0], in[1], 1); },
            {Tensor{2.f, 5.f}});
  table.add("gather/none", {kMatrix, Tensor(int64, {0})},
            [](In in) { return gather(in[0], in[1]); }, {kEmpty});
  table
      .add("scatter_add/rows",
           {ints({1, 0, 1}), Tensor{{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}, {7.f, 8.f, 9.f}}},
           [](In in) {
             return scatter_add({2, 3}, in[0], in[1]);
           },
           {Tensor{{4.f, 5.f, 6.f}, {8.f, 10.f, 12.f}}})
      .also(kNumbers);
  table
      .add("scatter_add/columns", {Tensor{{2, 0}, {1, 1}}, kCube},
           [](In in) {
             return scatter_add({2, 3}, in[0], in[1], -1);
           },
           {Tensor{{2.f, 7.f, 1.f}, {6.f, 15.f, 5.f}}})
      .also(kNumbers);
  table
      .add("scatter_add/one", {Tensor(std::int64_t{1}), Tensor{1.f, 2.f, 3.f}},
           [](In in) {
             return scatter_add({2, 3}, in[0], in[1]);
           },
           {Tensor{{0.f, 0.f, 0.f}, {1.f, 2.f, 3.f}}})
      .also(kNumbers);
  table
      .add("scatter_add/none", {Tensor(int32, {0}), kEmpty},
           [](In in) {
             return scatter_add({2, 3}, in[0], in[1]);
           },
           {Tensor{{0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}})
      .also(kNumbers);
  for (const Tensor& indices :
       {ints({1, 0, 2}), Tensor{{0, 1}, {2, 2}}, Tensor::from<std::uint8_t>({2, 0}, {2}),
        Tensor(std::int64_t{1}), Tensor(int64, {0})})
    table
        .add("check_indices/" + indices.shape().to_string(), {indices},
             [](In in) { return check_indices(in[0], 3); }, {indices})
        .also({})
        .without_gradient();
  table
      .add("one_hot/classes", {ints({1, 0, 1})}, [](In in) { return one_hot(in[0], 3); },
           {Tensor{{0.f, 1.f, 0.f}, {1.f, 0.f, 0.f}, {0.f, 1.f, 0.f}}})
      .also({})
      .without_gradient();
  table
      .add("one_hot/out_of_range", {Tensor{{-1, 2}, {1, 3}}},
           [](In in) { return one_hot(in[0], 3, float64); },
           {Tensor{{{0.0, 0.0, 0.0}, {0.0, 0.0, 1.0}}, {{0.0, 1.0, 0.0}, {0.0, 0.0, 0.0}}}})
      .also({})
      .without_gradient();
  table
      .add("one_hot/bytes", {Tensor::from<std::uint8_t>({0, 3, 2}, {3})},
           [](In in) {
             return Outputs{one_hot(in[0], 4, boolean), one_hot(in[0], 4, int64)};
           },
           {Tensor{{true, false, false, false},
                   {false, false, false, true},
                   {false, false, true, false}},
            Tensor::from<std::int64_t>({1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0}, {3, 4})})
      .also({})
      .without_gradient();
  table
      .add("one_hot/scalar", {Tensor(std::int64_t{1})},
           [](In in) { return one_hot(in[0], 2, uint8); },
           {Tensor::from<std::uint8_t>({0, 1}, {2})})
      .also({})
      .without_gradient();
  table
      .add("one_hot/nothing", {Tensor(int64, {0})}, [](In in) { return one_hot(in[0], 2); },
           {Tensor(float32, {0, 2})})
      .also({})
      .without_gradient();
}

void add_random_rows(Table table) {
  table
      .add("random_uniform/floats", {Tensor{{0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}},
           [](In in) { return random_uniform(in[0].graph(), shape_of(in[0]), float32, -1, 3); },
           {Tensor{{0.78894114f, 1.4369006f, 0.99021876f},
                   {0.029277135f, 2.9496152f, -0.7299296f}}})
      .also({});
  table.add("random_uniform/doubles", {Tensor{{0.0, 0.0}, {0.0, 0.0}}},
            [](In in) { return random_uniform(in[0].graph(), shape_of(in[0]), float64); },
            {Tensor{{0.4472352856791636, 0.4975546871445419},
                    {0.9874037879210705, 0.0547452859955212}}});
  table
      .add("random_uniform/empty", {kEmpty},
           [](In in) { return random_uniform(in[0].graph(), shape_of(in[0])); }, {kEmpty})
      .also({});
  table
      .add("random_normal/floats", {Tensor{0.f, 0.f, 0.f, 0.f, 0.f}},
           [](In in) { return random_normal(in[0].graph(), shape_of(in[0]), float32, 1, 2); },
           {Tensor{0.3513036f, -3.0330608f, 0.12141992f, 1.9831061f, 0.21554989f}})
      .also({});
  table.add("random_normal/doubles", {Tensor{{0.0, 0.0}, {0.0, 0.0}}},
            [](In in) { return random_normal(in[0].graph(), shape_of(in[0]), float64); },
            {Tensor{{0.6880918402925345, -1.9230512664330637},
                    {-0.2984496774368845, 0.2596592893991051}}});
  table
      .add("truncated_normal/floats", {Tensor{0.f, 0.f, 0.f, 0.f, 0.f}},
           [](In in) { return truncated_normal(in[0].graph(), shape_of(in[0]), float32, 1, 2); },
           {Tensor{-1.873933f, 2.495711f, -0.43969664f, 1.5628947f, -2.1951756f}})
      .also({});
  table.add("truncated_normal/doubles", {Tensor{{0.0, 0.0}, {0.0, 0.0}}},
            [](In in) { return truncated_normal(in[0].graph(), shape_of(in[0]), float64); },
            {Tensor{{-1.4369664610533415, -0.7198483180050604},
                    {-1.597587783661432, -0.6223502961398879}}});
  table.add("dropout_mask/training", {Tensor{{0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}, Tensor(true)},
            [](In in) { return dropout_mask(shape_of(in[0]), in[0].dtype(), 0.5, in[1]); },
            {Tensor{{2.f, 0.f, 0.f}, {0.f, 2.f, 0.f}}});
  table.add("dropout_mask/inference", {Tensor{{0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}, Tensor(false)},
            [](In in) { return dropout_mask(shape_of(in[0]), in[0].dtype(), 0.5, in[1]); },
            {Tensor{{1.f, 1.f, 1.f}, {1.f, 1.f, 1.f}}});
  table
      .add("dropout/training", {kMatrix, Tensor(true)},
           [](In in) { return dropout(in[0], 0.5, in[1]); },
           {Tensor{{2.f, 0.f, 0.f}, {0.f, 10.f, 0.f}}})
      .with_gradient();
  table
      .add("dropout/inference", {kMatrix, Tensor(false)},
           [](In in) { return dropout(in[0], 0.5, in[1]); }, {kMatrix})
      .with_gradient();
  table
      .add("dropout/rate_zero", {kMatrix, Tensor(true)},
           [](In in) { return dropout(in[0], 0, in[1]); }, {kMatrix})
      .with_gradient();
  table
      .add("dropout/empty", {kEmpty, Tensor(true)},
           [](In in) { return dropout(in[0], 0.5, in[1]); }, {kEmpty})
      .with_gradient();
}

}  // namespace

void add_array_rows(std::vector<OpRow>& rows) {
  add_shape_rows(Table(rows, kAll));
  add_repeating_rows(Table(rows, kAll));
  add_movement_rows(Table(rows, kAll));
  add_indexing_rows(Table(rows, kAll));
  add_random_rows(Table(rows, {float64}, false));
}

}  // namespace gradgraph::tests

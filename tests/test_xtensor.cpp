#include <doctest/doctest.h>

#if __has_include(<xtensor/views/xview.hpp>)  // from 0.26 on
#include <xtensor/misc/xsort.hpp>
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xsort.hpp>
#include <xtensor/xview.hpp>
#endif

#include "gradgraph/xtensor.h"

using namespace gradgraph;

TEST_CASE("a tensor and its xtensor share memory both ways") {
  Tensor tensor{{1.F, 2.F, 3.F}, {4.F, 5.F, 6.F}};
  auto array = to_xtensor<float>(tensor);
  static_assert(std::is_same_v<decltype(array)::value_type, float>);
  CHECK(array.dimension() == 2);
  CHECK(array.shape()[1] == 3);
  CHECK(array.data() == tensor.raw());
  array(1, 2) = 60;
  CHECK(tensor.at<float>({1, 2}) == 60);
  tensor.data<float>()[0] = 10;
  CHECK(array(0, 0) == 10);
  array *= 2.F;
  CHECK(tensor.at<float>({1, 0}) == 8);

  auto fixed = to_xtensor<float, 2>(tensor);
  CHECK(fixed.data() == tensor.raw());
  CHECK(fixed(0, 2) == 6);
}

TEST_CASE("an xtensor keeps the tensor's memory alive") {
  auto array = to_xtensor<std::int32_t>(Tensor{7, 8, 9});
  auto fixed = to_xtensor<double, 1>(Tensor{1.5, 2.5});
  auto copy = array;
  CHECK(array(2) == 9);
  CHECK(copy(1) == 8);
  CHECK(fixed(1) == 2.5);
  Tensor tensor{1.F};
  CHECK(tensor.unique());
  {
    const auto view = to_xtensor<float>(tensor);
    CHECK_FALSE(tensor.unique());
  }
  CHECK(tensor.unique());
}

TEST_CASE("a const tensor gives a read-only xtensor") {
  const Tensor tensor{true, false};
  const auto array = to_xtensor<bool>(tensor);
  static_assert(std::is_const_v<std::remove_pointer_t<decltype(array.data())>>);
  CHECK(array(0));
  CHECK_FALSE(array(1));
}

TEST_CASE("scalars and empty tensors have xtensors") {
  const auto scalar = to_xtensor<float>(Tensor(2.F));
  CHECK(scalar.dimension() == 0);
  CHECK(scalar() == 2);
  CHECK(to_xtensor<float, 0>(Tensor(3.F))() == 3);
  const auto none = to_xtensor<float>(Tensor(float32, {0, 4}));
  CHECK(none.size() == 0);
  CHECK(none.shape()[1] == 4);
}

TEST_CASE("a wrong dtype or rank is refused") {
  const Tensor tensor{1.F, 2.F};
  CHECK_THROWS_WITH_AS(to_xtensor<double>(tensor),
                       doctest::Contains("tensor has no float64 data"), RunError);
  CHECK_THROWS_WITH_AS((to_xtensor<float, 2>(tensor)),
                       doctest::Contains("a tensor of shape [2] is no xtensor of rank 2"),
                       RunError);
  CHECK_THROWS_WITH_AS(to_xtensor<float>(Tensor()),
                       doctest::Contains("an empty tensor has no data"), RunError);
}

TEST_CASE("aligned row-major containers hand over their memory") {
  AlignedArray<float> array = {{1, 2}, {3, 4}};
  const void* before = array.data();
  const Tensor from_array = from_xtensor(std::move(array));
  CHECK(from_array.raw() == before);
  CHECK(from_array.to_string() == "float32[2,2] [[1, 2], [3, 4]]");

  AlignedTensor<std::int64_t, 1> fixed = {5, 6};
  before = fixed.data();
  const Tensor from_fixed = from_xtensor(std::move(fixed));
  CHECK(from_fixed.raw() == before);
  CHECK(from_fixed.to_string() == "int64[2] [5, 6]");
}

TEST_CASE("other containers are copied") {
  AlignedArray<float> kept = {1, 2};
  const Tensor copy = from_xtensor(kept);
  CHECK(copy.raw() != kept.data());
  CHECK(kept(1) == 2);

  xt::xarray<double, xt::layout_type::column_major> columns = {{1, 2, 3}, {4, 5, 6}};
  CHECK(from_xtensor(std::move(columns)).to_string() == "float64[2,3] [[1, 2, 3], [4, 5, 6]]");
  xt::xarray<double, xt::layout_type::dynamic> dynamic(std::vector<std::size_t>{2, 2},
                                                       xt::layout_type::column_major);
  dynamic = xt::xarray<double>{{1, 2}, {3, 4}};
  CHECK(from_xtensor(std::move(dynamic)).to_string() == "float64[2,2] [[1, 2], [3, 4]]");
}

TEST_CASE("expressions are evaluated") {
  const xt::xarray<float> a = {{1, 2}, {3, 4}};
  const Tensor sum = from_xtensor(a + 1.F);
  CHECK(sum.to_string() == "float32[2,2] [[2, 3], [4, 5]]");
  CHECK(from_xtensor(xt::view(a, xt::all(), 1)).to_string() == "float32[2] [2, 4]");
  CHECK(from_xtensor(a > 2.F).to_string() == "bool[2,2] [[false, false], [true, true]]");
  CHECK(from_xtensor(xt::argmax(a, 1)).to_string() == "int64[2] [1, 1]");
  CHECK(from_xtensor(xt::sum(a)).to_string() == "float32[] 10");

  const Tensor x{1.F, 2.F};
  const Tensor y{10.F, 20.F};
  CHECK(from_xtensor(to_xtensor<float>(x) * to_xtensor<float>(y)).to_string() ==
        "float32[2] [10, 40]");
}

TEST_CASE("an expression with too many axes is refused") {
  const xt::xarray<float> deep = xt::ones<float>(std::vector<std::size_t>(9, 1));
  CHECK_THROWS_WITH_AS(from_xtensor(deep), doctest::Contains("a shape has at most 8 axes"),
                       BuildError);
}

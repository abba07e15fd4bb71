#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <sstream>
#include <vector>

#include "gradgraph/error.h"
#include "gradgraph/tensor.h"

using namespace gradgraph;

TEST_CASE("literals take dtype and shape from what is written") {
  CHECK(Tensor(1.5F).to_string() == "float32[] 1.5");
  CHECK(Tensor{1.5F}.to_string() == "float32[1] [1.5]");
  CHECK(Tensor{1, 2, 3}.to_string() == "int32[3] [1, 2, 3]");
  CHECK(Tensor{std::int64_t{4}}.to_string() == "int64[1] [4]");
  CHECK(Tensor{1.0, 2.0}.dtype() == float64);
  CHECK(Tensor(true).to_string() == "bool[] true");
  CHECK(Tensor{std::uint8_t{65}}.to_string() == "uint8[1] [65]");
  CHECK(Tensor{{1.F, 2.F}, {3.F, 4.F}, {5.F, 6.F}}.to_string() ==
        "float32[3,2] [[1, 2], [3, 4], [5, 6]]");
  CHECK(Tensor{{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}.to_string() ==
        "int32[2,2,2] [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]");
}

TEST_CASE("rows of different lengths are refused") {
  CHECK_THROWS_WITH_AS((Tensor{{1, 2}, {3}}),
                       doctest::Contains("rows of a literal differ in length: 2 and 1"),
                       BuildError);
  CHECK_THROWS_AS((Tensor{{{1, 2}, {3, 4}}, {{5, 6}}}), BuildError);
  CHECK_THROWS_AS((Tensor{{{1, 2}}, {{5, 6, 7}}}), BuildError);
}

TEST_CASE("memory is aligned, also of empty tensors") {
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{1}, Shape{1000}, Shape{3, 5}}) {
    const Tensor tensor(uint8, shape);
    CAPTURE(shape.to_string());
    CHECK(tensor);
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.raw()) % Tensor::kAlignment == 0);
    CHECK(tensor.num_elements() == shape.num_elements());
    CHECK(tensor.bytes() == static_cast<std::size_t>(shape.num_elements()));
  }
}

TEST_CASE("tensors of unknown or impossible size are refused") {
  CHECK_THROWS_WITH_AS((Tensor(float32, {any, 2})),
                       doctest::Contains("the number of elements of [?,2] is not known"),
                       BuildError);
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK_THROWS_WITH_AS(Tensor(float64, {most}),
                       doctest::Contains("float64[9223372036854775807] does not fit in memory"),
                       BuildError);
// Sanitisers end the program instead.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK_THROWS_WITH_AS(
      Tensor(uint8, {std::int64_t{1} << 60}),
      doctest::Contains("no memory for uint8[1152921504606846976], 1152921504606846976 bytes"),
      RunError);
#endif
}

TEST_CASE("zeros and full fill every dtype") {
  for (const DType dtype : {float32, float64, int32, int64, uint8, boolean}) {
    CAPTURE(name(dtype));
    CHECK(Tensor::zeros(dtype, {2, 2}).cast(int32).to_string() == "int32[2,2] [[0, 0], [0, 0]]");
    CHECK(Tensor::full(dtype, {2}, 1).cast(int32).to_string() == "int32[2] [1, 1]");
  }
  CHECK(Tensor::full(uint8, {1}, 1000).to_string() == "uint8[1] [255]");
  CHECK(Tensor::full(float32, {0}, 3).to_string() == "float32[0] []");
}

TEST_CASE("from copies as many values as the shape has") {
  const std::vector<float> values = {1, 2, 3, 4};
  const Tensor tensor = Tensor::from(values, {2, 2});
  CHECK(tensor.at<float>({1, 0}) == 3);
  CHECK(tensor.raw() != values.data());
  CHECK_THROWS_WITH_AS(Tensor::from(values, {3}),
                       doctest::Contains("4 values do not fill a tensor of shape [3]"),
                       BuildError);
  CHECK(Tensor::from(std::vector<float>{}, {0, 3}).num_elements() == 0);
  const std::array<bool, 2> flags = {true, false};
  CHECK(Tensor::from(std::span<const bool>(flags), {2}).to_string() == "bool[2] [true, false]");
}

TEST_CASE("wrapped memory is used in place and kept alive") {
  auto owner = std::make_shared<Tensor>(Tensor{1.F, 2.F});
  const std::weak_ptr<Tensor> alive = owner;
  void* memory = owner->raw();
  Tensor wrapped = Tensor::wrap(float32, {2, 1}, memory, std::move(owner));
  CHECK(wrapped.raw() == memory);
  CHECK(wrapped.at<float>({1, 0}) == 2);
  CHECK_FALSE(alive.expired());
  wrapped = Tensor();
  CHECK(alive.expired());
}

TEST_CASE("the elements of a tensor that is passed on live as long as their span") {
  bool alive = false;
  const auto passed_on = [&] {
    alive = true;
    const Tensor elements{1.f, 2.f, 3.f};
    std::shared_ptr<void> owner(&alive, [&alive, elements](void*) { alive = false; });
    return Tensor::wrap(float32, {3}, const_cast<void*>(elements.raw()), std::move(owner));
  };
  float sum = 0;
  for (const float x : passed_on().span<float>()) sum += alive ? x : 100.f;
  CHECK(sum == 6);
  CHECK(!alive);
  {
    const auto span = passed_on().span<float>();
    CHECK(alive);
    CHECK(span[2] == 3);
  }
  CHECK(!alive);
  CHECK_THROWS_WITH_AS(passed_on().span<double>(), doctest::Contains("float32"), RunError);
  CHECK(!alive);
}

TEST_CASE("memory that cannot be wrapped is refused") {
  const auto owner = std::make_shared<Tensor>(float32, Shape{64});
  auto* bytes = static_cast<char*>(owner->raw());
  CHECK_THROWS_WITH_AS(Tensor::wrap(float32, {2}, bytes + 4, owner),
                       doctest::Contains("wrapped memory must be aligned to 64 bytes"),
                       BuildError);
  CHECK_THROWS_WITH_AS(Tensor::wrap(float32, {2}, bytes, nullptr),
                       doctest::Contains("wrapped memory needs an owner that keeps it alive"),
                       BuildError);
  CHECK_THROWS_AS(Tensor::wrap(float32, {any}, bytes, owner), BuildError);
}

TEST_CASE("copies share memory, clones do not") {
  Tensor tensor{1.F, 2.F};
  CHECK(tensor.unique());
  Tensor shared = tensor;
  CHECK_FALSE(tensor.unique());
  shared.data<float>()[0] = 5;
  CHECK(tensor.at<float>({0}) == 5);
  Tensor clone = tensor.clone();
  CHECK(clone.unique());
  clone.data<float>()[0] = 9;
  CHECK(tensor.at<float>({0}) == 5);
  const Tensor moved = std::move(shared);
  CHECK(moved.raw() == tensor.raw());
}

TEST_CASE("a reshaped tensor has the same elements in the same memory") {
  const Tensor tensor{1, 2, 3, 4, 5, 6};
  const Tensor matrix = tensor.reshaped({2, 3});
  CHECK(matrix.raw() == tensor.raw());
  CHECK(matrix.at<std::int32_t>({1, 0}) == 4);
  CHECK(Tensor(3.F).reshaped({1, 1}).to_string() == "float32[1,1] [[3]]");
  CHECK_THROWS_WITH_AS(tensor.reshaped({4}),
                       doctest::Contains("a tensor of shape [6] has no view of shape [4]"),
                       RunError);
}

TEST_CASE("cast converts every pair of dtypes") {
  const Tensor source{0.F, 1.F, 2.75F, -3.5F, 300.F};
  CHECK(source.cast(int32).to_string() == "int32[5] [0, 1, 2, -3, 300]");
  CHECK(source.cast(uint8).to_string() == "uint8[5] [0, 1, 2, 0, 255]");
  CHECK(source.cast(boolean).to_string() == "bool[5] [false, true, true, true, true]");
  CHECK(source.cast(float64).to_string() == "float64[5] [0, 1, 2.75, -3.5, 300]");
  const Tensor same = source.cast(float32);
  CHECK(same.raw() != source.raw());
  CHECK(same.to_string() == source.to_string());
  const Tensor ones{true, true};
  for (const DType from : {float32, float64, int32, int64, uint8, boolean})
    for (const DType to : {float32, float64, int32, int64, uint8, boolean})
      CHECK(ones.cast(from).cast(to).cast(boolean).to_string() == "bool[2] [true, true]");
  CHECK(Tensor(float32, {0, 2}).cast(int64).shape() == Shape{0, 2});
}

TEST_CASE("data is handed out as its own dtype only") {
  Tensor tensor{1.F, 2.F};
  CHECK(tensor.span<float>().size() == 2);
  CHECK_THROWS_WITH_AS(tensor.data<double>(), doctest::Contains("tensor has no float64 data"),
                       RunError);
  const Tensor constant = tensor;
  CHECK_THROWS_AS(constant.span<bool>(), RunError);
  CHECK_THROWS_AS(constant.item<std::int64_t>(), RunError);
}

TEST_CASE("items and elements are checked") {
  CHECK(Tensor(2.5).item<double>() == 2.5);
  CHECK(Tensor{{7}}.item<std::int32_t>() == 7);
  CHECK_THROWS_WITH_AS((Tensor{1.F, 2.F}.item<float>()),
                       doctest::Contains("item() needs one element, the shape is [2]"), RunError);
  CHECK_THROWS_AS(Tensor(float32, {0}).item<float>(), RunError);

  const Tensor matrix{{1.F, 2.F}, {3.F, 4.F}};
  CHECK(matrix.at<float>({1, 1}) == 4);
  CHECK_THROWS_WITH_AS(matrix.at<float>({1, 2}),
                       doctest::Contains("index 2 on axis 1 is outside [2,2]"), RunError);
  CHECK_THROWS_WITH_AS(matrix.at<float>({-1, 0}),
                       doctest::Contains("index -1 on axis 0 is outside [2,2]"), RunError);
  CHECK_THROWS_WITH_AS(matrix.at<float>({1}),
                       doctest::Contains("1 indices for a tensor of shape [2,2]"), RunError);
  CHECK_THROWS_AS(matrix.at<float>({0, 0, 0}), RunError);
}

TEST_CASE("an empty tensor has neither memory nor elements") {
  const Tensor none;
  CHECK_FALSE(none);
  CHECK(none.empty_handle());
  CHECK(none.raw() == nullptr);
  CHECK(none.to_string() == "(empty tensor)");
  CHECK_FALSE(none.clone());
  CHECK_FALSE(none.cast(int32));
  CHECK_FALSE(none.unique());
  CHECK_THROWS_WITH_AS(none.data<float>(), doctest::Contains("an empty tensor has no data"),
                       RunError);
  CHECK_THROWS_WITH_AS(none.item<float>(), doctest::Contains("an empty tensor has no data"),
                       RunError);
  CHECK_THROWS_WITH_AS(none.at<float>({}), doctest::Contains("an empty tensor has no data"),
                       RunError);
  CHECK_THROWS_WITH_AS(none.reshaped({0}), doctest::Contains("an empty tensor has no data"),
                       RunError);
}

TEST_CASE("printing shortens long axes") {
  Tensor counted(int32, {100});
  for (std::int32_t i = 0; i < 100; ++i) counted.data<std::int32_t>()[i] = i;
  CHECK(counted.to_string() == "int32[100] [0, 1, 2, ..., 97, 98, 99]");
  CHECK(counted.reshaped({50, 2}).to_string() ==
        "int32[50,2] [[0, 1], [2, 3], [4, 5], ..., [94, 95], [96, 97], [98, 99]]");
  const Tensor seven{1, 2, 3, 4, 5, 6, 7};
  CHECK(seven.to_string() == "int32[7] [1, 2, 3, 4, 5, 6, 7]");
  CHECK((Tensor{1, 2, 3, 4, 5, 6, 7, 8}.to_string()) == "int32[8] [1, 2, 3, ..., 6, 7, 8]");
}

TEST_CASE("printing knows empty axes and special values") {
  CHECK(Tensor(float32, {0}).to_string() == "float32[0] []");
  CHECK(Tensor(float32, {2, 0}).to_string() == "float32[2,0] [[], []]");
  CHECK(Tensor(float32, {0, 2}).to_string() == "float32[0,2] []");
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK((Tensor{nan, -infinity, 0.1F}.to_string()) == "float32[3] [nan, -inf, 0.1]");
  std::ostringstream stream;
  stream << Tensor{1.5F};
  CHECK(stream.str() == "float32[1] [1.5]");
}

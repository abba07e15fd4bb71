#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gradgraph/data.h"
#include "gradgraph/error.h"
#include "gradgraph/npy.h"
#include "messages.h"
#include "temporary_directory.h"

using namespace gradgraph;
using gradgraph::tests::contains;
using gradgraph::tests::message_of;

namespace {

/// 0, 1, 2, ... of any number of samples.
Tensor counted(const Shape& shape, DType dtype = float32) {
  Tensor tensor(int64, shape);
  for (std::int64_t i = 0; i < tensor.num_elements(); ++i) tensor.data<std::int64_t>()[i] = i;
  return tensor.cast(dtype);
}

data::Dataset three() {
  return {
      {"left", counted({6, 2})}, {"right", counted({6}, int32)}, {"kind", counted({6}, int64)}};
}

/// Every batch of an epoch, as bytes.
std::string all_of(data::Batches batches) {
  std::string all;
  for (const data::Batch& batch : batches)
    for (const Tensor& array : batch.arrays())
      all.append(static_cast<const char*>(array.raw()), array.bytes());
  return all;
}

}  // namespace

TEST_CASE("a data set is named arrays in an order") {
  data::Dataset set = three();
  CHECK(set.size() == 6);
  CHECK(set.names() == std::vector<std::string>{"left", "right", "kind"});
  CHECK(set.contains("kind"));
  CHECK(!set.contains("kin"));
  CHECK(set["right"].to_string() == "int32[6] [0, 1, 2, 3, 4, 5]");
  CHECK(set["left"].raw() == set.stored()[0].raw());
  CHECK(set.classes("kind").empty());
  const data::Dataset before = set;
  set.set_classes("kind", {"a", "b"});
  CHECK(set.first(2).classes("kind") == std::vector<std::string>{"a", "b"});
  CHECK(before.classes("kind").empty());

  CHECK(data::Dataset().size() == 0);
  CHECK(data::Dataset().names().empty());
  CHECK(contains(message_of([&] { static_cast<void>(data::Dataset()["x"]); }),
                 "the data set has no array 'x'; it has none"));
  CHECK(contains(message_of([&] { static_cast<void>(set["lef"]); }),
                 "the data set has no array 'lef'; it has left, right, kind  (test_data_sets"));
}

TEST_CASE("arrays that make no data set are refused") {
  const auto refused = [](const std::vector<NamedTensor>& arrays) {
    return message_of([&] { data::Dataset set(arrays); });
  };
  CHECK(contains(refused({{"a", Tensor{1, 2}}, {"b", Tensor{1}}}),
                 "'a' has 2 samples, but 'b' has 1"));
  CHECK(contains(refused({{"a", Tensor{1}}, {"a", Tensor{1}}}), "two arrays are called 'a'"));
  CHECK(contains(refused({{"", Tensor{1}}}), "an array has no name"));
  CHECK(contains(refused({{"a", Tensor(1)}}), "'a' has no first axis, of samples"));
  CHECK(contains(refused({{"a", Tensor()}}), "'a' has no first axis, of samples"));
}

TEST_CASE("parts of a data set are its samples, in the order asked for") {
  const data::Dataset set = three();
  CHECK(set.first(2)["left"].to_string() == "float32[2,2] [[0, 1], [2, 3]]");
  CHECK(set.subset(2, 4)["left"].to_string() == "float32[2,2] [[4, 5], [6, 7]]");
  CHECK(set.subset(2, 5).subset(1, 3)["kind"].to_string() == "int64[2] [3, 4]");
  CHECK(set.subset({5, 0, 0})["kind"].to_string() == "int64[3] [5, 0, 0]");
  CHECK(set.subset({5, 0, 3}).subset(1, 3)["kind"].to_string() == "int64[2] [0, 3]");
  CHECK(set.subset(3, 6).subset({2, 0})["kind"].to_string() == "int64[2] [5, 3]");
  CHECK(set.subset(3, 3)["left"].to_string() == "float32[0,2] []");

  const auto [train, test] = set.split(0.7);
  CHECK(train.size() == 4);
  CHECK(test["kind"].to_string() == "int64[2] [4, 5]");
  const auto [one, five] = set.split(1);
  CHECK(one.size() == 1);
  CHECK(five.size() == 5);
  CHECK(set.split(1.0).second.size() == 0);

  const data::Dataset mixed = set.shuffled(3);
  const Tensor order = mixed["kind"];
  CHECK(order.to_string() != set["kind"].to_string());
  CHECK(
      std::ranges::is_permutation(order.span<std::int64_t>(), set["kind"].span<std::int64_t>()));
  CHECK(order.to_string() == set.shuffled(3)["kind"].to_string());
  CHECK(order.to_string() == data::shuffled_samples(6, 3, 0).to_string());
  CHECK(mixed["right"].cast(int64).to_string() == order.to_string());

  for (const auto& [begin, end] : {std::pair{-1, 2}, std::pair{4, 3}, std::pair{0, 7}})
    CHECK_THROWS_AS(set.subset(begin, end), BuildError);
  CHECK(contains(message_of([&] { set.subset({0, 6}); }), "6 samples has no sample 6"));
  CHECK(contains(message_of([&] { set.subset({-1}); }), "no sample -1"));
  CHECK(contains(message_of([&] { set.split(1.1); }), "the fraction 1.1; it must be in [0, 1]"));
  CHECK_THROWS_AS(set.split(7), BuildError);
}

TEST_CASE("a part gives the batches that its own arrays give") {
  const data::Dataset set{{"images", counted({40, 3}, uint8)}, {"labels", counted({40}, int64)}};
  for (const data::Dataset& part :
       {set.subset(7, 30), set.shuffled(2), set.shuffled(5).subset(3, 33), set.first(9)}) {
    const data::Dataset copied{{"images", part["images"]}, {"labels", part["labels"]}};
    CHECK(all_of(data::batches(part, 4, {.seed = 9})) ==
          all_of(data::batches(copied, 4, {.seed = 9})));
  }
}

TEST_CASE("columns are stacked") {
  const data::Dataset set = three();
  CHECK(data::stacked(set.first(2), {"right", "left"}).to_string() ==
        "float32[2,3] [[0, 0, 1], [1, 2, 3]]");
  CHECK(data::stacked(set.first(2), {"kind"}, int64).to_string() == "int64[2,1] [[0], [1]]");
  const data::Dataset deep{{"x", counted({1, 2, 3})}};
  CHECK(contains(message_of([&] { data::stacked(deep, {"x"}); }),
                 "stacked: 'x' is float32[1,2,3], not of one or two axes"));
}

TEST_CASE("the last batch is kept or dropped") {
  for (const int prefetch : {0, 2}) {
    const auto sizes = [&](std::int64_t samples, bool drop_last) {
      data::Batches batches(data::Dataset{{"x", counted({samples})}}, 4,
                            {.drop_last = drop_last, .prefetch = prefetch});
      std::vector<std::int64_t> found;
      for (const data::Batch& batch : batches) found.push_back(batch.size());
      CHECK(batches.size() == static_cast<std::int64_t>(found.size()));
      return found;
    };
    using Sizes = std::vector<std::int64_t>;
    CHECK(sizes(10, false) == Sizes{4, 4, 2});
    CHECK(sizes(10, true) == Sizes{4, 4});
    CHECK(sizes(8, true) == Sizes{4, 4});
    CHECK(sizes(3, true) == Sizes{3});  // a batch is never larger than the data set
  }
}

TEST_CASE("a pass can go on in its middle") {
  for (const int prefetch : {0, 2}) {
    data::Batches batches(three(), 2, {.seed = 4, .prefetch = prefetch});
    batches.restart(7);
    std::vector<std::string> whole;
    for (const data::Batch& batch : batches) whole.push_back(batch["kind"].to_string());
    for (std::int64_t first = 0; first <= 3; ++first) {
      batches.restart(7, first);
      std::vector<std::string> rest;
      for (const data::Batch& batch : batches) rest.push_back(batch["kind"].to_string());
      CHECK(rest == std::vector<std::string>(whole.begin() + first, whole.end()));
    }
    CHECK(contains(message_of([&] { batches.restart(7, 4); }), "none has number 4 of 3"));
  }
}

TEST_CASE("a mapped file is a data set like any other") {
  const tests::TemporaryDirectory directory;
  const Tensor images = counted({50, 4}, uint8);
  write_npy(directory / "images.npy", images);
  const data::Dataset read{{"images", images}},
      mapped{{"images", map_npy(directory / "images.npy")}};
  CHECK(all_of(data::batches(read.shuffled(1), 7)) ==
        all_of(data::batches(mapped.shuffled(1), 7)));
}

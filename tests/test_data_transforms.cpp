#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gradgraph/data.h"
#include "gradgraph/error.h"
#include "messages.h"

using namespace gradgraph;
using gradgraph::tests::contains;
using gradgraph::tests::message_of;

namespace {

/// `count` images of 3 by 4 with 2 channels, whose elements are all different, and class numbers.
data::Dataset images(std::int64_t count) {
  Tensor pixels(float32, {count, 3, 4, 2}), labels(int64, {count});
  for (std::int64_t i = 0; i < pixels.num_elements(); ++i)
    pixels.data<float>()[i] = static_cast<float>(i + 1);
  for (std::int64_t i = 0; i < count; ++i) labels.data<std::int64_t>()[i] = i % 5;
  return {{"images", pixels}, {"labels", labels}};
}

Tensor first_of(const data::Dataset& dataset, std::vector<data::Transform> transforms,
                const char* array) {
  data::Batches batches(dataset, dataset.size(),
                        {.shuffle = false, .prefetch = 0, .transforms = std::move(transforms)});
  return (*batches.next())[array].clone();
}

}  // namespace

TEST_CASE("scale and normalize calculate as they say") {
  const data::Dataset masks{{"masks", Tensor::full(uint8, {2, 3}, 51)}};
  CHECK(first_of(masks, {data::scale("masks")}, "masks").to_string() ==
        "float32[2,3] [[0.2, 0.2, 0.2], [0.2, 0.2, 0.2]]");
  CHECK(first_of(masks, {data::scale("masks", 2)}, "masks").at<float>({1, 1}) == 25.5F);
  const data::Dataset pairs{{"x", Tensor{{1.f, 10.f}, {3.f, 30.f}}}};
  CHECK(first_of(pairs, {data::normalize("x", {1, 10}, {2, 5})}, "x").to_string() ==
        "float32[2,2] [[0, 0], [1, 4]]");
  CHECK(first_of(pairs, {data::normalize("x", {1}, {2})}, "x").to_string() ==
        "float32[2,2] [[0, 4.5], [1, 14.5]]");
  // What is in memory stays as it is.
  CHECK(pairs["x"].to_string() == "float32[2,2] [[1, 10], [3, 30]]");
}

TEST_CASE("one_hot puts a 1 at the class") {
  CHECK(first_of(images(3), {data::one_hot("labels", 5)}, "labels").to_string() ==
        "float32[3,5] [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]");
  CHECK(contains(
      message_of<RunError>([&] { first_of(images(9), {data::one_hot("labels", 4)}, "labels"); }),
      "one_hot: the class 4 of 'labels' is outside 0..3"));
}

TEST_CASE("random_flip mirrors some images, left to right") {
  const data::Dataset dataset = images(200);
  const Tensor before = dataset["images"];
  const Tensor after = first_of(dataset, {data::random_flip("images")}, "images");
  int flipped = 0;
  for (std::int64_t i = 0; i < 200; ++i) {
    const bool is_flipped = before.at<float>({i, 0, 0, 0}) != after.at<float>({i, 0, 0, 0});
    flipped += is_flipped;
    for (std::int64_t y = 0; y < 3; ++y)
      for (std::int64_t x = 0; x < 4; ++x)
        for (std::int64_t c = 0; c < 2; ++c)
          CHECK(after.at<float>({i, y, x, c}) ==
                before.at<float>({i, y, is_flipped ? 3 - x : x, c}));
  }
  CHECK(flipped > 70);
  CHECK(flipped < 130);
  const Tensor all = first_of(dataset, {data::random_flip("images", 1)}, "images");
  CHECK(all.at<float>({7, 1, 0, 1}) == before.at<float>({7, 1, 3, 1}));
}

TEST_CASE("random_crop takes a part of the padded image") {
  const data::Dataset dataset = images(300);
  const Tensor before = dataset["images"];
  const Tensor after = first_of(dataset, {data::random_crop("images", 4, 3, 1)}, "images");
  CHECK(after.shape() == Shape{300, 4, 3, 2});
  int places[2][4] = {};
  for (std::int64_t i = 0; i < 300; ++i) {
    int fits = 0;
    for (std::int64_t top = 0; top <= 1; ++top)
      for (std::int64_t left = 0; left <= 3; ++left) {
        bool same = true;
        for (std::int64_t y = 0; y < 4 && same; ++y)
          for (std::int64_t x = 0; x < 3 && same; ++x) {
            const std::int64_t row = top + y - 1, column = left + x - 1;
            const bool inside = row >= 0 && row < 3 && column >= 0 && column < 4;
            same = after.at<float>({i, y, x, 1}) ==
                   (inside ? before.at<float>({i, row, column, 1}) : 0);
          }
        if (same) ++places[top][left];
        fits += same;
      }
    CHECK(fits == 1);
  }
  for (const auto& row : places)
    for (const int count : row) CHECK(count > 15);
}

TEST_CASE("random transforms give the same batches for any number of threads and batches ahead") {
  const data::Dataset dataset = images(5000);
  const auto pass = [&](std::int64_t batch_size, int prefetch, int threads, std::uint64_t seed,
                        std::int64_t epoch) {
    data::Batches batches(dataset, batch_size,
                          {.shuffle = false,
                           .seed = seed,
                           .epoch = epoch,
                           .prefetch = prefetch,
                           .threads = threads,
                           .transforms = {data::random_crop("images", 3, 4, 2),
                                          data::random_flip("images"), [](data::Batch& batch) {
                                            for (std::int64_t i = 0; i < batch.size(); ++i)
                                              batch["images"].data<float>()[i * 24] =
                                                  static_cast<float>(batch.random(i).uniform());
                                          }}});
    std::string all;
    for (const data::Batch& batch : batches)
      all.append(static_cast<const char*>(batch["images"].raw()), batch["images"].bytes());
    return all;
  };
  const std::string expected = pass(1000, 0, 1, 1, 1);
  CHECK(pass(1000, 3, 1, 1, 1) == expected);
  CHECK(pass(1000, 0, 4, 1, 1) == expected);
  CHECK(pass(170, 1, 3, 1, 1) == expected);
  CHECK(pass(1000, 0, 1, 2, 1) != expected);
  CHECK(pass(1000, 0, 1, 1, 2) != expected);
}

TEST_CASE("random numbers of samples differ, and repeat") {
  const auto draw = [](std::uint64_t seed, std::int64_t epoch, std::int64_t sample,
                       std::uint64_t stream) {
    return data::Random(seed, epoch, sample, stream).next();
  };
  CHECK(draw(1, 2, 3, 4) == draw(1, 2, 3, 4));
  CHECK(draw(1, 2, 3, 4) != draw(0, 2, 3, 4));
  CHECK(draw(1, 2, 3, 4) != draw(1, 0, 3, 4));
  CHECK(draw(1, 2, 3, 4) != draw(1, 2, 0, 4));
  CHECK(draw(1, 2, 3, 4) != draw(1, 2, 3, 0));
  data::Random random(1, 0, 0);
  int counts[7] = {};
  double sum = 0;
  for (int i = 0; i < 7000; ++i) {
    ++counts[random.below(7)];
    const double value = random.uniform();
    CHECK(value >= 0);
    CHECK(value < 1);
    sum += value;
  }
  for (const int count : counts) CHECK(std::abs(count - 1000) < 150);
  CHECK(std::abs(sum / 7000 - 0.5) < 0.02);
  CHECK(random.below(1) == 0);
}

TEST_CASE("transforms that do not go with the data set are refused") {
  const data::Dataset dataset = images(4);
  const auto refused = [&](const data::Transform& transform) {
    return message_of<BuildError>(
        [&] { data::batches(dataset, 2, {.transforms = {transform}}); });
  };
  CHECK(contains(refused(data::scale("image")),
                 "has no array 'image'; it has images, labels  (test_data_transforms"));
  CHECK(contains(refused(data::scale("images", 0)), "cannot be divided by 0"));
  CHECK(contains(refused(data::normalize("labels", {0}, {1})),
                 "'labels' is int64; scale it first"));
  CHECK(contains(refused(data::normalize("images", {0, 1, 2}, {1})),
                 "3 values for the 2 channels of 'images'"));
  CHECK(contains(refused(data::normalize("images", {0}, {0})), "a deviation of 0"));
  CHECK(contains(refused(data::random_crop("labels", 1, 1)), "are int64[], not images [H,W,C]"));
  CHECK(contains(refused(data::random_crop("images", 6, 2, 1)), "no part [6,2] of 'images'"));
  CHECK(contains(refused(data::random_crop("images", 2, 2, -1)), "no part [2,2]"));
  CHECK(contains(refused(data::random_flip("images", 1.5)), "a probability of 1.5"));
  CHECK(contains(refused(data::one_hot("images", 3)), "not class numbers"));
  CHECK(contains(refused(data::one_hot("labels", 0)), "one_hot: 0 classes"));
  CHECK(contains(refused(std::function<void(data::Batch&)>()), "a transform is empty"));
  // A function that changes a type, in front of a step that was planned before it.
  data::Batches batches(dataset, 2,
                        {.prefetch = 0,
                         .transforms = {[](data::Batch& batch) {
                                          batch["images"] = Tensor::zeros(float32, {2, 3});
                                        },
                                        data::random_flip("images")}});
  CHECK(contains(message_of<RunError>([&] { batches.next(); }),
                 "a function has made 'images' float32[2,3]"));
}

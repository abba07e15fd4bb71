#include <doctest/doctest.h>

#ifdef __linux__
#include <sched.h>
#include <sys/resource.h>
#endif

#include <algorithm>
#include <atomic>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "gradgraph/data.h"
#include "gradgraph/error.h"

using namespace gradgraph;

namespace {

/// Sample i has two pixels of value i and the label i.
data::Dataset numbered(std::int64_t count) {
  Tensor images(uint8, {count, 2}), labels(int64, {count});
  for (std::int64_t i = 0; i < count; ++i) {
    images.data<std::uint8_t>()[2 * i] = static_cast<std::uint8_t>(i);
    images.data<std::uint8_t>()[2 * i + 1] = static_cast<std::uint8_t>(i);
    labels.data<std::int64_t>()[i] = i;
  }
  return {{"images", images}, {"labels", labels}};
}

/// All labels of one pass, after checking that the images belong to them.
std::vector<std::int64_t> pass(data::Batches& batches) {
  std::vector<std::int64_t> order;
  for (const data::Batch& batch : batches) {
    const auto labels = batch["labels"].span<std::int64_t>();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const float expected = static_cast<float>(labels[i]) / 255.F;
      CHECK(batch["images"].span<float>()[2 * i] == expected);
      CHECK(batch["images"].span<float>()[2 * i + 1] == expected);
      order.push_back(labels[i]);
    }
  }
  return order;
}

std::vector<std::int64_t> counted(std::int64_t count) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), std::int64_t{0});
  return numbers;
}

}  // namespace

TEST_CASE("batches cover the data set once, the smaller last one included") {
  for (const int prefetch : {0, 1, 2, 5})
    for (const std::int64_t batch_size : {1, 3, 7, 10, 100}) {
      CAPTURE(prefetch);
      CAPTURE(batch_size);
      data::Batches batches(numbered(10), batch_size, {.shuffle = false, .prefetch = prefetch});
      CHECK(batches.size() == (10 + batch_size - 1) / batch_size);
      std::vector<std::int64_t> sizes;
      for (const data::Batch& batch : batches) {
        sizes.push_back(batch.size());
        CHECK(batch["images"].shape() == Shape{batch.size(), 2});
      }
      CHECK(static_cast<std::int64_t>(sizes.size()) == batches.size());
      CHECK(std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}) == 10);
      CHECK(sizes.front() == std::min<std::int64_t>(batch_size, 10));
      CHECK(batches.next() == nullptr);
      batches.restart(1);
      CHECK(pass(batches) == counted(10));
    }
}

TEST_CASE("shuffling repeats with seed and epoch, whatever the prefetch") {
  const data::Dataset dataset = numbered(100);
  const auto order = [&](std::uint64_t seed, std::int64_t epoch, int prefetch = 2) {
    data::Batches batches(dataset, 8, {.seed = seed, .epoch = epoch, .prefetch = prefetch});
    return pass(batches);
  };
  const auto first = order(1, 0);
  CHECK(first == order(1, 0));
  CHECK(first == order(1, 0, 0));
  CHECK(first != order(1, 1));
  CHECK(first != order(2, 0));
  CHECK(order(1, 1) != order(2, 0));
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  CHECK(sorted == counted(100));
}

TEST_CASE("the order is the same on every machine") {
  data::Batches batches(numbered(10), 10, {.seed = 7, .epoch = 3});
  CHECK(pass(batches) == std::vector<std::int64_t>{9, 1, 8, 7, 5, 0, 3, 6, 4, 2});
}

TEST_CASE("restart shuffles for another epoch, also in the middle of one") {
  for (const int prefetch : {0, 2}) {
    CAPTURE(prefetch);
    data::Batches batches(numbered(50), 8, {.seed = 3, .prefetch = prefetch});
    const auto epoch0 = pass(batches);
    batches.restart(1);
    const auto epoch1 = pass(batches);
    CHECK(epoch0 != epoch1);
    batches.restart(5);
    for (int i = 0; i < 3; ++i) CHECK(batches.next() != nullptr);
    batches.restart(1);
    CHECK(pass(batches) == epoch1);
    batches.restart(4);
    batches.restart(0);
    CHECK(pass(batches) == epoch0);
  }
}

TEST_CASE("a batch stays as it is until the next one is asked for") {
  data::Batches batches(numbered(64), 4, {.shuffle = false, .prefetch = 3});
  for (std::int64_t i = 0; const data::Batch* batch = batches.next(); ++i) {
    // Long enough for the second thread to make all that it may.
    if (i < 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK((*batch)["labels"].at<std::int64_t>({0}) == 4 * i);
    CHECK((*batch)["labels"].at<std::int64_t>({3}) == 4 * i + 3);
  }
}

TEST_CASE("memory is reused from batch to batch and pass to pass") {
  data::Batches batches(numbered(100), 8, {.prefetch = 2});
  std::set<const void*> addresses;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    for (const data::Batch& batch : batches) addresses.insert(batch["images"].raw());
    batches.restart(epoch + 1);
  }
  CHECK(addresses.size() == 3);
}

TEST_CASE("other dtypes are handed out as they are") {
  const data::Dataset dataset{{"images", Tensor{{0.5, 1.5}, {2.5, 3.5}}},
                              {"labels", Tensor{{1, 0}, {0, 1}}}};
  data::Batches batches(dataset, 2, {.shuffle = false});
  const data::Batch* batch = batches.next();
  REQUIRE(batch);
  CHECK((*batch)["images"].to_string() == "float64[2,2] [[0.5, 1.5], [2.5, 3.5]]");
  CHECK((*batch)["labels"].to_string() == "int32[2,2] [[1, 0], [0, 1]]");
}

TEST_CASE("a transform sees every batch, and what it throws comes out of next") {
  for (const int prefetch : {0, 2}) {
    CAPTURE(prefetch);
    int seen = 0;
    {
      data::Batches batches(
          numbered(10), 4,
          {.shuffle = false, .prefetch = prefetch, .transforms = {[&](data::Batch& batch) {
                                                     ++seen;
                                                     batch["labels"].data<std::int64_t>()[0] = -1;
                                                   }}});
      for (const data::Batch& batch : batches) CHECK(batch["labels"].at<std::int64_t>({0}) == -1);
    }
    CHECK(seen == 3);

    bool broken = true;
    data::Batches batches(
        numbered(10), 4,
        {.shuffle = false, .prefetch = prefetch, .transforms = {[&](data::Batch& batch) {
                                                   if (broken && batch.size() == 2)
                                                     throw std::runtime_error("no such colour");
                                                 }}});
    CHECK(batches.next() != nullptr);
    CHECK(batches.next() != nullptr);
    CHECK_THROWS_WITH_AS(batches.next(), "no such colour", std::runtime_error);
    CHECK_THROWS_WITH_AS(batches.next(), "no such colour", std::runtime_error);
    broken = false;
    batches.restart(0);
    CHECK(pass(batches) == counted(10));
  }
}

#ifdef __linux__
TEST_CASE("the thread that makes batches gets a share of the cores, however busy they are") {
  const std::thread::id own = std::this_thread::get_id();
  std::atomic<int> elsewhere = 0, starved = 0;
  const data::Transform look([&](data::Batch&) {
    if (std::this_thread::get_id() == own) return;
    ++elsewhere;
    // A caller that waits for a batch waits for this thread, and the lowest policy gets nothing.
    if (sched_getscheduler(0) == SCHED_IDLE || getpriority(PRIO_PROCESS, 0) > 10) ++starved;
  });
  data::Batches batches(numbered(100), 1, {.transforms = {look}});
  // The caller makes what the other thread has not begun: until that has made one.
  for (int passes = 0; passes < 10000 && elsewhere == 0; ++passes) {
    batches.restart(passes);
    while (batches.next() != nullptr) std::this_thread::yield();
  }
  CHECK(elsewhere > 0);
  CHECK(starved == 0);
}
#endif

TEST_CASE("batches can be left and moved in the middle of a pass") {
  for (int i = 0; i < 20; ++i) {
    data::Batches batches(numbered(100), 3, {.shuffle = false});
    for (int j = 0; j < i; ++j) CHECK(batches.next() != nullptr);
    data::Batches moved = std::move(batches);
    const data::Batch* batch = moved.next();
    REQUIRE(batch);
    CHECK((*batch)["labels"].at<std::int64_t>({0}) == 3 * i);
    moved = data::Batches(numbered(5), 5);
    CHECK(moved.size() == 1);
  }
}

TEST_CASE("an empty data set has no batches") {
  for (const int prefetch : {0, 2}) {
    data::Batches batches(numbered(0), 4, {.prefetch = prefetch});
    CHECK(batches.size() == 0);
    CHECK(batches.next() == nullptr);
    batches.restart(1);
    CHECK(batches.next() == nullptr);
  }
}

TEST_CASE("a batch that several threads fill is that which one fills") {
  const data::Dataset dataset = numbered(30000);
  const auto options = [](int threads) {
    return data::BatchOptions{.seed = 2, .prefetch = 0, .threads = threads};
  };
  data::Batches alone(dataset, 30000, options(1));
  const data::Batch& expected = *alone.next();
  for (const int threads : {0, 2, 3}) {
    data::Batches together(dataset, 30000, options(threads));
    const data::Batch& batch = *together.next();
    CHECK(std::ranges::equal(batch["images"].span<float>(), expected["images"].span<float>()));
    CHECK(std::ranges::equal(batch["labels"].span<std::int64_t>(),
                             expected["labels"].span<std::int64_t>()));
  }
}

TEST_CASE("batches that cannot be are refused") {
  const data::Dataset dataset = numbered(4);
  CHECK_THROWS_WITH_AS(data::batches(dataset, 0),
                       doctest::Contains("batches: a batch size of 0; it must be 1 or more"),
                       BuildError);
  CHECK_THROWS_AS(data::batches(dataset, -1), BuildError);
  CHECK_THROWS_WITH_AS(data::batches(dataset, 1, {.prefetch = -1}),
                       doctest::Contains("batches: a prefetch of -1"), BuildError);
  CHECK_THROWS_WITH_AS(data::batches(dataset, 1, {.threads = -1}),
                       doctest::Contains("batches: -1 threads"), BuildError);
  CHECK_THROWS_WITH_AS(data::batches({}, 1),
                       doctest::Contains("batches: the data set has no arrays"), BuildError);
}

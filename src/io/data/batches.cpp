#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "core/text.h"
#include "core/threads.h"
#include "device/parallel.h"
#include "gradgraph/data.h"
#include "io/data/shuffle.h"

namespace gradgraph::data {
namespace {

/// The first `count` of the tensor's outermost axis, in the same memory.
Tensor leading(const Tensor& tensor, std::int64_t count) {
  Shape shape = tensor.shape();
  if (shape[0] == count) return tensor;
  shape.set(0, count);
  auto owner = std::make_shared<Tensor>(tensor);
  return Tensor::wrap(tensor.dtype(), shape, owner->raw(), owner);
}

/// Calls `copy(sample)` for one after the other and brings those to come into the cache: they
/// lie all over memory, and waiting for it would take as long as everything else.
template <class Copy>
void for_each_sample(const std::uint8_t* data, std::size_t bytes,
                     std::span<const std::int64_t> samples, const Copy& copy) {
  constexpr std::size_t kAhead = 3, kLine = 64;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (i + kAhead < samples.size()) {
      const std::uint8_t* next = data + static_cast<std::size_t>(samples[i + kAhead]) * bytes;
      for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(next + at);
    }
    copy(data + static_cast<std::size_t>(samples[i]) * bytes);
  }
}

/// Copies samples of a data set into a batch, where uint8 becomes float32 if the batch is that.
void gather(const Tensor& from, std::span<const std::int64_t> samples, Tensor& to, int threads) {
  const auto elements = static_cast<std::size_t>(from.num_elements() / from.shape()[0]);
  const auto* data = static_cast<const std::uint8_t*>(from.raw());
  const std::size_t bytes = elements * size_of(from.dtype());
  const auto copy = [&](std::span<const std::int64_t> some, std::size_t first) {
    if (from.dtype() == to.dtype()) {
      auto* out = static_cast<std::uint8_t*>(to.raw()) + first * bytes;
      for_each_sample(data, bytes, some, [&](const std::uint8_t* sample) {
        std::memcpy(out, sample, bytes);
        out += bytes;
      });
    } else {
      float* out = to.data<float>() + first * elements;
      for_each_sample(data, bytes, some, [&](const std::uint8_t* sample) {
        out = std::transform(sample, sample + elements, out,
                             [](std::uint8_t x) { return static_cast<float>(x) / 255.0F; });
      });
    }
  };
  const std::int64_t grain = kParallelGrain / static_cast<std::int64_t>(elements + 1) + 1;
  parallel_for(static_cast<std::int64_t>(samples.size()), grain, threads,
               [&](std::int64_t begin, std::int64_t end) {
                 const auto first = static_cast<std::size_t>(begin);
                 copy(samples.subspan(first, static_cast<std::size_t>(end) - first), first);
               });
}

}  // namespace

Dataset Dataset::first(std::int64_t limit, SourceLocation where) const {
  if (limit < 0)
    throw BuildError(fmt::format("a data set has no first {} samples", limit), where);
  if (limit == 0 || limit >= size()) return *this;
  return {leading(images, limit), leading(labels, limit)};
}

namespace {

Dataset checked(Dataset dataset, SourceLocation where) {
  if (!dataset.images || !dataset.labels || dataset.images.shape().rank() == 0 ||
      dataset.labels.shape().rank() == 0)
    throw BuildError("batches: images and labels need a first axis, of samples", where);
  if (dataset.images.shape()[0] != dataset.labels.shape()[0])
    throw BuildError(fmt::format("batches: {} images, but {} labels", dataset.images.shape()[0],
                                 dataset.labels.shape()[0]),
                     where);
  return dataset;
}

std::int64_t checked(std::int64_t batch_size, SourceLocation where) {
  if (batch_size < 1)
    throw BuildError(fmt::format("batches: a batch size of {}; it must be 1 or more", batch_size),
                     where);
  return batch_size;
}

/// Leaves the cores to threads that calculate: they wait for each other, so that one of them
/// interrupted holds up all.
void run_when_idle() {
#ifdef __linux__
  const sched_param priority{};
  // Where it is refused, batches are still made.
  pthread_setschedparam(pthread_self(), SCHED_IDLE, &priority);
#endif
}

}  // namespace

/// Batch i of a pass lies in slot i modulo their number. `made`, `taken` and `released` count
/// batches; those in [released, made) must not be written.
struct Batches::State {
  struct Slot {
    Tensor images, labels;            ///< room for a full batch
    Tensor last_images, last_labels;  ///< the part of it that a smaller last batch fills
    Batch batch;
  };

  State(Dataset data, std::int64_t size_of_batch, BatchOptions opts, SourceLocation where)
      : dataset(checked(std::move(data), where)),
        batch_size(
            std::min(checked(size_of_batch, where), std::max<std::int64_t>(dataset.size(), 1))),
        options(std::move(opts)),
        count((dataset.size() + batch_size - 1) / batch_size),
        epoch(options.epoch),
        order_memory(int64, Shape{dataset.size()}, {}),
        order(order_memory.span<std::int64_t>()) {
    if (options.prefetch < 0)
      throw BuildError(
          fmt::format("batches: a prefetch of {}; it must be 0 or more", options.prefetch),
          where);
    if (options.threads < 0 || options.threads > kMaxThreads)
      throw BuildError(fmt::format("batches: {} threads; 0 (all cores) to {} can be",
                                   options.threads, kMaxThreads),
                       where);
    std::iota(order.begin(), order.end(), std::int64_t{0});
    if (count == 0) return;
    const std::int64_t last = dataset.size() - (count - 1) * batch_size;
    // One more than is made ahead: the caller's own.
    slots.resize(static_cast<std::size_t>(std::min(std::int64_t{options.prefetch} + 1, count)));
    for (Slot& slot : slots) {
      slot.images = room_for(dataset.images, true);
      slot.labels = room_for(dataset.labels, false);
      slot.last_images = leading(slot.images, last);
      slot.last_labels = leading(slot.labels, last);
    }
    if (options.prefetch > 0) worker = std::thread([this] { work(); });
  }

  ~State() {
    if (!worker.joinable()) return;
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    worker.join();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Tensor room_for(const Tensor& from, bool to_unit) const {
    Shape shape = from.shape();
    shape.set(0, batch_size);
    return {to_unit && from.dtype() == uint8 ? float32 : from.dtype(), shape};
  }

  const Batch* next() {
    std::unique_lock lock(mutex);
    released = taken;
    if (taken == count) return nullptr;
    // A batch that nobody has begun is made here: the worker waits for a core without work.
    changed.wait(lock, [this] { return made > taken || failure || !making; });
    if (made == taken && !failure) make_next(lock, thread_count(options.threads));
    // Batches made before the failure are good.
    if (made == taken) std::rethrow_exception(failure);
    changed.notify_all();
    return &slot_of(taken++).batch;
  }

  void restart(std::int64_t new_epoch) {
    {
      const std::lock_guard lock(mutex);
      epoch = new_epoch;
      made = taken = released = 0;
      failure = nullptr;
      ++pass;
    }
    changed.notify_all();
  }

  Slot& slot_of(std::int64_t index) {
    return slots[static_cast<std::size_t>(index) % slots.size()];
  }

  /// Makes batch number `made`, unlocked meanwhile.
  void make_next(std::unique_lock<std::mutex>& lock, int threads) {
    const std::int64_t this_pass = pass, this_epoch = epoch, index = made;
    making = true;
    lock.unlock();
    std::exception_ptr thrown;
    try {
      if (options.shuffle && shuffled_pass != this_pass) shuffle(order, options.seed, this_epoch);
      shuffled_pass = this_pass;
      make(index, threads);
    } catch (...) {
      thrown = std::current_exception();
    }
    lock.lock();
    making = false;
    changed.notify_all();
    if (pass != this_pass) return;  // restarted meanwhile: nobody wants this batch
    if (thrown)
      failure = thrown;
    else
      ++made;
  }

  void make(std::int64_t index, int threads) {
    const std::int64_t begin = index * batch_size;
    const std::int64_t size = std::min(batch_size, dataset.size() - begin);
    const std::span<const std::int64_t> samples =
        order.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(size));
    Slot& slot = slot_of(index);
    slot.batch.images = size == batch_size ? slot.images : slot.last_images;
    slot.batch.labels = size == batch_size ? slot.labels : slot.last_labels;
    gather(dataset.images, samples, slot.batch.images, threads);
    gather(dataset.labels, samples, slot.batch.labels, threads);
    if (options.transform) options.transform(slot.batch);
  }

  /// The second thread, until it is told to stop.
  void work() {
    run_when_idle();
    std::unique_lock lock(mutex);
    const auto slot_free = [this] {
      return !making && !failure && made < count &&
             made - released < static_cast<std::int64_t>(slots.size());
    };
    while (true) {
      changed.wait(lock, [&] { return stopping || slot_free(); });
      if (stopping) return;
      make_next(lock, 1);
    }
  }

  const Dataset dataset;
  const std::int64_t batch_size;
  const BatchOptions options;
  const std::int64_t count;
  std::vector<Slot> slots;

  std::mutex mutex;
  std::condition_variable changed;
  std::int64_t pass = 0, epoch = 0;
  std::int64_t made = 0, taken = 0, released = 0;
  std::exception_ptr failure;
  bool making = false, stopping = false;

  /// Written by the thread that makes a batch.
  Tensor order_memory;
  std::span<std::int64_t> order;
  std::int64_t shuffled_pass = -1;
  std::thread worker;  ///< last: it uses all of the above
};

Batches::Batches(Dataset dataset, std::int64_t batch_size, BatchOptions options,
                 SourceLocation where) {
  try {
    state_ = std::make_unique<State>(std::move(dataset), batch_size, std::move(options), where);
  } catch (const RunError& error) {  // a tensor's
    throw RunError(fmt::format("batches: {}", error.what()), where);
  } catch (const std::bad_alloc&) {
    throw RunError("batches: there is no memory for them", where);
  }
}
Batches::~Batches() = default;
Batches::Batches(Batches&&) noexcept = default;
Batches& Batches::operator=(Batches&&) noexcept = default;

std::int64_t Batches::size() const { return state_->count; }
void Batches::restart(std::int64_t epoch) { state_->restart(epoch); }
const Batch* Batches::next() { return state_->next(); }

Batches batches(const Dataset& dataset, std::int64_t batch_size, BatchOptions options,
                SourceLocation where) {
  return {dataset, batch_size, std::move(options), where};
}

}  // namespace gradgraph::data

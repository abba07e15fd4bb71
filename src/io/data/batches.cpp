#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>
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
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/text.h"
#include "core/threads.h"
#include "device/parallel.h"
#include "io/data/array_names.h"
#include "io/data/shuffle.h"
#include "io/data/transform.h"

namespace gradgraph::data {
namespace {

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
  const std::int64_t grain = grain_of(static_cast<std::int64_t>(elements));
  parallel_for(static_cast<std::int64_t>(samples.size()), grain, threads,
               [&](std::int64_t begin, std::int64_t end) {
                 const auto first = static_cast<std::size_t>(begin);
                 copy(samples.subspan(first, static_cast<std::size_t>(end) - first), first);
               });
}

}  // namespace

namespace {

Dataset checked(Dataset dataset, SourceLocation where) {
  if (dataset.names().empty()) throw BuildError("batches: the data set has no arrays", where);
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
void leave_cores_to_others() {
#ifdef __linux__
  // A thread of this policy interrupts none when it wakes up. One of SCHED_IDLE would get no core
  // for a minute beside busy programs, while the training waits for the batch that it has begun.
  const sched_param none{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
  constexpr int kNice = 10;
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);  // of this thread alone
#endif
}

}  // namespace

/// Batch i of a pass lies in slot i modulo their number. `made`, `taken` and `released` count
/// batches; those in [released, made) must not be written.
struct Batches::State {
  /// Room for a full batch, and the part of it that a smaller last one fills.
  struct Room {
    Tensor full, last;
  };
  struct Slot {
    std::vector<Room> stored;  ///< of every array, as it comes from the data set
    std::vector<Room> made;    ///< of every transform's step; of others, empty
    std::vector<std::int64_t> positions;
    Batch batch;
  };
  /// A transform's step, planned.
  struct Planned {
    std::size_t array = 0;
    SampleType from{}, to{};
  };

  State(Dataset data, std::int64_t size_of_batch, BatchOptions opts, SourceLocation where)
      : dataset(checked(std::move(data), where)),
        batch_size(
            std::min(checked(size_of_batch, where), std::max<std::int64_t>(dataset.size(), 1))),
        options(std::move(opts)),
        count(options.drop_last ? dataset.size() / batch_size
                                : (dataset.size() + batch_size - 1) / batch_size),
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
    const auto names = std::make_shared<const std::vector<std::string>>(dataset.names());
    std::vector<SampleType> types;
    for (std::size_t i = 0; i < names->size(); ++i) {
      const Tensor& array = dataset.stored()[i];
      const Shape shape(array.shape().dims().subspan(1));
      // As images are stored, in a quarter of the memory.
      const bool is_bytes = (*names)[i] == "images" && array.dtype() == uint8;
      types.push_back({is_bytes ? float32 : array.dtype(), shape});
    }
    const std::vector<SampleType> stored = types;
    for (const Transform& transform : options.transforms) plan(transform, types, *names, where);
    if (count == 0) return;
    const std::int64_t last = std::min(batch_size, dataset.size() - (count - 1) * batch_size);
    const auto room_for = [&](const SampleType& type) {
      Shape shape{batch_size};
      for (const std::int64_t extent : type.shape) shape.append(extent);
      const Tensor full(type.dtype, shape);
      return Room{full, leading(full, last)};
    };
    // One more than is made ahead: the caller's own.
    slots.resize(static_cast<std::size_t>(std::min(std::int64_t{options.prefetch} + 1, count)));
    for (Slot& slot : slots) {
      for (const SampleType& type : stored) slot.stored.push_back(room_for(type));
      for (std::size_t i = 0; i < planned.size(); ++i) {
        const auto& step = options.transforms[i].step_;
        slot.made.push_back(step && !step->in_place() ? room_for(planned[i].to) : Room{});
      }
      slot.positions.resize(static_cast<std::size_t>(batch_size));
      slot.batch.names_ = names;
      slot.batch.arrays_.resize(names->size());
      slot.batch.seed_ = options.seed;
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

  void plan(const Transform& transform, std::vector<SampleType>& types,
            const std::vector<std::string>& names, SourceLocation where) {
    Planned step;
    if (transform.step_) {
      step.array = find_array(names, {transform.step_->array, where}, "the data set");
      step.from = types[step.array];
      step.to = types[step.array] = transform.step_->plan(step.from, where);
    } else if (!transform.function_) {
      throw BuildError("batches: a transform is empty", where);
    }
    planned.push_back(step);
  }

  const Batch* next() {
    std::unique_lock lock(mutex);
    released = taken;
    if (taken == count) return nullptr;
    // A batch that nobody has begun is made here: the worker leaves the cores to others.
    changed.wait(lock, [this] { return made > taken || failure || !making; });
    if (made == taken && !failure) make_next(lock, thread_count(options.threads));
    // Batches made before the failure are good.
    if (made == taken) std::rethrow_exception(failure);
    changed.notify_all();
    return &slot_of(taken++).batch;
  }

  void restart(std::int64_t new_epoch, std::int64_t first) {
    {
      const std::lock_guard lock(mutex);
      epoch = new_epoch;
      made = taken = released = first;
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
      make(index, this_epoch, threads);
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

  void make(std::int64_t index, std::int64_t this_epoch, int threads) {
    const std::int64_t begin = index * batch_size;
    const std::int64_t size = std::min(batch_size, dataset.size() - begin);
    const auto of_size = [&](const Room& room) -> const Tensor& {
      return size == batch_size ? room.full : room.last;
    };
    const std::span<const std::int64_t> samples =
        order.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(size));
    Slot& slot = slot_of(index);
    Batch& batch = slot.batch;
    batch.samples_ = samples;
    batch.epoch_ = this_epoch;
    const std::span positions(slot.positions.data(), samples.size());
    std::ranges::transform(samples, positions.begin(),
                           [this](std::int64_t sample) { return dataset.position(sample); });
    for (std::size_t i = 0; i < batch.arrays_.size(); ++i) {
      batch.arrays_[i] = of_size(slot.stored[i]);
      gather(dataset.stored()[i], positions, batch.arrays_[i], threads);
    }
    for (std::size_t i = 0; i < planned.size(); ++i) {
      if (const auto& step = options.transforms[i].step_)
        apply(*step, i, of_size(slot.made[i]), batch, threads);
      else
        options.transforms[i].function_(batch);
    }
  }

  /// Applies transform number `stream` to the batch; `room` is empty where it works in place.
  void apply(const Transform::Step& step, std::size_t stream, const Tensor& room, Batch& batch,
             int threads) const {
    const SampleType& from = planned[stream].from;
    const Tensor in = batch.arrays_[planned[stream].array];
    if (in.dtype() != from.dtype || in.shape().rank() != from.shape.rank() + 1 ||
        in.shape()[0] != batch.size() ||
        !std::ranges::equal(in.shape().dims().subspan(1), from.shape.dims()))
      throw RunError(
          fmt::format("batches: a function has made '{}' {}{}, behind which comes a "
                      "transform that knows what it takes",
                      step.array, in.dtype(), in.shape()));
    step.check(in);
    Tensor out = room ? room : in;
    const auto bytes_of = [&](const Tensor& tensor) {
      return tensor.bytes() / static_cast<std::size_t>(std::max<std::int64_t>(batch.size(), 1));
    };
    const std::size_t in_bytes = bytes_of(in), out_bytes = bytes_of(out);
    const auto* const read = static_cast<const std::byte*>(in.raw());
    auto* const written = static_cast<std::byte*>(out.raw());
    const std::int64_t grain = grain_of(static_cast<std::int64_t>(in_bytes + out_bytes));
    parallel_for(batch.size(), grain, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto at = static_cast<std::size_t>(i);
        // Streams of their own, which no function of the program has.
        constexpr std::uint64_t kSteps = std::uint64_t{1} << 32U;
        step.apply(from, read + at * in_bytes, written + at * out_bytes,
                   batch.random(i, kSteps + stream));
      }
    });
    batch.arrays_[planned[stream].array] = out;
  }

  /// The second thread, until it is told to stop.
  void work() {
    leave_cores_to_others();
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
  std::vector<Planned> planned;  ///< of every transform
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
void Batches::restart(std::int64_t epoch) { state_->restart(epoch, 0); }
void Batches::restart(std::int64_t epoch, std::int64_t first, SourceLocation where) {
  if (first < 0 || first > state_->count)
    throw BuildError(fmt::format("batches: none has number {} of {}", first, state_->count),
                     where);
  state_->restart(epoch, first);
}
const Batch* Batches::next() { return state_->next(); }

Batches batches(const Dataset& dataset, std::int64_t batch_size, BatchOptions options,
                SourceLocation where) {
  return {dataset, batch_size, std::move(options), where};
}

}  // namespace gradgraph::data

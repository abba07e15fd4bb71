#include "device/thread_pool.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "core/threads.h"
#include "device/float_mode.h"

namespace gradgraph {
namespace {

/// What different threads write is on lines of its own.
constexpr std::size_t kLine = 64;
/// Ranges of chunks that a loop has at most; more threads share them.
constexpr int kMaxRanges = 64;

/// A loop of the calling thread, which has one at a time.
struct Loop {
  struct alignas(kLine) Range {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };

  ChunkCall call = nullptr;
  const void* body = nullptr;
  FloatMode mode = 0;
  int ranges = 0;
  /// Threads beside the caller that may still be at work on it.
  alignas(kLine) std::atomic<int> pending{0};
  std::array<Range, kMaxRanges> range;

  void share(std::int64_t chunks, int workers) {
    ranges = std::min(workers, kMaxRanges);
    for (int i = 0; i < ranges; ++i) {
      range[static_cast<std::size_t>(i)].next.store(chunks * i / ranges,
                                                    std::memory_order_relaxed);
      range[static_cast<std::size_t>(i)].end = chunks * (i + 1) / ranges;
    }
  }
  /// A thread's part: its own range, then what others have left of theirs.
  void work(int worker) {
    const FloatModeScope scope(mode);
    for (int i = 0; i < ranges; ++i) {
      Range& from = range[static_cast<std::size_t>((worker + i) % ranges)];
      while (from.next.load(std::memory_order_relaxed) < from.end) {
        const std::int64_t chunk = from.next.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= from.end) break;
        call(body, chunk, worker);
      }
    }
  }
};

void relax() {
#if defined(__SSE2__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

/// Threads that wait keep looking for this long before they sleep. With the machine to themselves
/// that is longer than most gaps between kernels; where other programs have work, which a waiting
/// thread would keep from its core, it is little more than it takes to fall asleep and wake up.
constexpr microseconds kPatience{200}, kPatienceInCompany{10};

/// Whether other programs want the cores: whether they were lately taken from a thread of ours,
/// time and again. (Now and then the system's own threads take them on every machine.)
class Company {
 public:
  void seen(Clock::time_point now) {
    constexpr std::chrono::milliseconds kRemembered{100};
    until_.store(now + kRemembered, std::memory_order_relaxed);
  }
  /// Every thread that begins to wait asks for it, and tells by that what it has seen.
  microseconds patience(Clock::time_point now) {
    constexpr std::chrono::milliseconds kLookEvery{10}, kRare{6};
    constexpr long kFew = 2;
    static thread_local Clock::time_point looked;
    static thread_local long lost = 0;
    if (now - looked > kLookEvery) {
      rusage usage{};
      getrusage(RUSAGE_THREAD, &usage);
      const long losses = usage.ru_nivcsw - lost;
      if (losses > kFew && losses * kRare > now - looked) seen(now);
      lost = usage.ru_nivcsw;
      looked = now;
    }
    return now < until_.load(std::memory_order_relaxed) ? kPatienceInCompany : kPatience;
  }

 private:
  alignas(kLine) std::atomic<Clock::time_point> until_{Clock::time_point()};
};
Company company;

/// Waits, without sleep, until `done()`, for as long as it pays; gives what `done()` says.
template <class Done>
bool spin(const Done& done) {
  constexpr int kLooksPerTime = 32;
  if (done()) return true;
  const Clock::time_point start = Clock::now(), end = start + company.patience(start);
  do {
    for (int i = 0; i < kLooksPerTime; ++i) {
      relax();
      if (done()) return true;
    }
  } while (Clock::now() < end);
  return false;
}

/// Callers that sleep until others have finished their loops, which they make anew as soon as
/// nobody is at work on them.
class Sleepers {
 public:
  void sleep_until_zero(const std::atomic<int>& pending) {
    count_.fetch_add(1);
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return pending.load() == 0; });
    count_.fetch_sub(1);
  }
  void wake() {
    if (count_.load() == 0) return;
    { const std::lock_guard lock(mutex_); }
    finished_.notify_all();
  }

 private:
  std::atomic<int> count_{0};
  std::mutex mutex_;
  std::condition_variable finished_;
};

/// Whether the calling thread is at work on a loop.
thread_local bool in_loop = false;

/// A thread that callers claim, to offer it their loop. They may take it back until the thread
/// has accepted it.
class alignas(kLine) Worker {
 public:
  bool claim() {
    Loop* none = nullptr;
    return offer_.load(std::memory_order_relaxed) == none &&
           offer_.compare_exchange_strong(none, &taken_);
  }
  /// Of a claimed one.
  void offer(Loop& loop, int number) {
    number_ = number;
    offer_.store(&loop);
    if (!asleep_.load()) return;
    { const std::lock_guard lock(mutex_); }
    wake_.notify_one();
  }
  bool take_back(Loop& loop) {
    Loop* offered = &loop;
    return offer_.load(std::memory_order_relaxed) == offered &&
           offer_.compare_exchange_strong(offered, nullptr);
  }

  [[noreturn]] void run(Sleepers& callers) {
    in_loop = true;
    while (true) {
      Loop& loop = next();
      loop.work(number_);
      offer_.store(nullptr);
      if (loop.pending.fetch_sub(1) == 1) callers.wake();
    }
  }

 private:
  Loop* accept() {
    Loop* loop = offer_.load(std::memory_order_relaxed);
    if (!loop || loop == &taken_) return nullptr;
    return offer_.compare_exchange_strong(loop, &taken_) ? loop : nullptr;
  }
  Loop& next() {
    Loop* loop = nullptr;
    while (!spin([&] { return (loop = accept()) != nullptr; })) {
      std::unique_lock lock(mutex_);
      asleep_.store(true);
      wake_.wait(lock, [this] {
        const Loop* const offered = offer_.load();
        return offered && offered != &taken_;
      });
      asleep_.store(false);
    }
    return *loop;
  }

  /// Stands for a loop that has been accepted, or that is about to be offered.
  static inline Loop taken_;

  std::atomic<Loop*> offer_{nullptr};
  int number_ = 0;
  std::atomic<bool> asleep_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

class ThreadPool {
 public:
  void run(Loop& loop, int workers) {
    const int helpers = workers - 1;
    const int wanted = wanted_.fetch_add(helpers, std::memory_order_relaxed) + helpers;
    provide(std::max(helpers, std::min(wanted, cores_ - 1)));
    if (workers > cores_) company.seen(Clock::now());
    loop.pending.store(helpers, std::memory_order_relaxed);

    // The same threads as last time, as far as they are free.
    static thread_local int preferred = 0;
    const int first = preferred, count = count_.load(std::memory_order_acquire);
    int offered = 0;
    for (int i = 0; i < count && offered < helpers; ++i) {
      Worker& worker = at(first + i, count);
      if (!worker.claim()) continue;
      worker.offer(loop, ++offered);
      if (offered == 1) preferred = (first + i) % count;
    }
    in_loop = true;
    loop.work(0);
    in_loop = false;
    int missing = helpers - offered;
    for (int i = 0; i < count && offered > 0; ++i)
      if (at(first + i, count).take_back(loop)) ++missing;
    const auto finished = [&loop] { return loop.pending.load() == 0; };
    loop.pending.fetch_sub(missing);
    if (!spin(finished)) callers_.sleep_until_zero(loop.pending);
    wanted_.fetch_sub(helpers, std::memory_order_relaxed);
  }

 private:
  Worker& at(int index, int count) { return *workers_[static_cast<std::size_t>(index % count)]; }

  void provide(int count) {
    count = std::min(count, limit_.load(std::memory_order_relaxed));
    if (count <= count_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(starting_);
    // Programs' signals are for their own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int next = count_.load(); next < count; ++next) {
      auto& worker = workers_[static_cast<std::size_t>(next)];
      try {
        worker = std::make_unique<Worker>();
        std::thread([this, next, &worker = *worker] {
          pthread_setname_np(pthread_self(), fmt::format("gradgraph-{}", next + 1).c_str());
          worker.run(callers_);
        }).detach();
      } catch (const std::system_error&) {
        limit_ = next;  // the system gives no more: those that are there do the work
        break;
      } catch (const std::bad_alloc&) {
        break;  // this time
      }
      count_.store(next + 1, std::memory_order_release);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  const int cores_ = thread_count(0);
  std::atomic<int> count_{0};
  /// Helpers of all loops that run now.
  alignas(kLine) std::atomic<int> wanted_{0};
  std::atomic<int> limit_{kMaxThreads};
  std::mutex starting_;
  std::array<std::unique_ptr<Worker>, kMaxThreads> workers_;
  Sleepers callers_;
};

/// Never destroyed, since its threads run until the process ends. A forked process has none of
/// them, and gets a pool of its own.
std::atomic<ThreadPool*>& pool() {
  static std::atomic<ThreadPool*> pool = [] {
    pthread_atfork(nullptr, nullptr, [] { gradgraph::pool() = new ThreadPool; });
    return new ThreadPool;
  }();
  return pool;
}

}  // namespace

void run_chunks(std::int64_t chunks, int workers, ChunkCall call, const void* body) {
  workers = static_cast<int>(std::min<std::int64_t>(workers, chunks));
  if (workers <= 1 || in_loop) {
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) call(body, chunk, 0);
    return;
  }
  static thread_local Loop loop;
  loop.call = call;
  loop.body = body;
  loop.mode = float_mode();
  loop.share(chunks, workers);
  pool().load(std::memory_order_relaxed)->run(loop, workers);
}

}  // namespace gradgraph

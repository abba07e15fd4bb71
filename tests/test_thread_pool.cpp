#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cmath>
#include <csignal>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "device/float_mode.h"
#include "device/parallel.h"

/// The threads that share loops: each chunk once, work memory never shared, nobody waits for a
/// thread that has not begun.
namespace gradgraph {
namespace {

/// How often each chunk of a loop was called.
std::vector<int> counts(std::int64_t chunks, int workers) {
  std::vector<std::atomic<int>> calls(static_cast<std::size_t>(chunks));
  parallel_chunks(chunks, chunks, workers,
                  [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                    for (std::int64_t i = begin; i < end; ++i)
                      ++calls[static_cast<std::size_t>(i)];
                  });
  return {calls.begin(), calls.end()};
}

TEST_CASE("thread pool: each chunk once, for any number of chunks and threads") {
  for (const int workers : {1, 2, 3, 7, 64, 65, 130})
    for (const std::int64_t chunks : {0, 1, 2, 3, 5, 63, 64, 65, 1000})
      for (int round = 0; round < 20; ++round)
        REQUIRE(counts(chunks, workers) == std::vector<int>(static_cast<std::size_t>(chunks), 1));
}

TEST_CASE("thread pool: no two threads have the same work memory at a time") {
  for (const int workers : {2, 3, 7}) {
    std::vector<std::atomic<int>> users(static_cast<std::size_t>(workers));
    std::atomic<int> shared{0};
    for (int round = 0; round < 200; ++round)
      parallel_chunks(64, 64, workers, [&](std::int64_t worker, std::int64_t, std::int64_t) {
        auto& own = users[static_cast<std::size_t>(worker)];
        if (own.fetch_add(1) != 0) ++shared;
        own.fetch_sub(1);
      });
    CHECK(shared == 0);
  }
}

TEST_CASE("thread pool: who is held up holds up no other's chunks") {
  // One chunk waits until all others are done: with two threads the other one does them all.
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> done{0};
    parallel_chunks(8, 8, 2, [&](std::int64_t, std::int64_t begin, std::int64_t) {
      if (begin == 4)
        while (done < 7) std::this_thread::yield();
      else
        ++done;
    });
    CHECK(done == 7);
  }
}

TEST_CASE("thread pool: loops within loops run on the thread that calls them") {
  std::atomic<int> others{0}, calls{0};
  parallel_chunks(8, 8, 3, [&](std::int64_t, std::int64_t, std::int64_t) {
    const std::thread::id self = std::this_thread::get_id();
    parallel_chunks(8, 8, 3, [&](std::int64_t worker, std::int64_t, std::int64_t) {
      if (std::this_thread::get_id() != self || worker != 0) ++others;
      ++calls;
    });
  });
  CHECK(others == 0);
  CHECK(calls == 64);
}

TEST_CASE("thread pool: loops of several threads at a time") {
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&wrong, caller] {
      for (int round = 0; round < 500; ++round) {
        std::vector<std::int64_t> squares(100);
        parallel_chunks(100, 25, 2 + caller % 3,
                        [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                          for (std::int64_t i = begin; i < end; ++i)
                            squares[static_cast<std::size_t>(i)] = i * i;
                        });
        if (std::reduce(squares.begin(), squares.end()) != 328350) ++wrong;
      }
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("thread pool: all threads calculate in the caller's mode, and only meanwhile") {
  const FloatMode before = float_mode();
  const FloatModeScope flushing(flushing_denormals(before));
  const FloatMode wanted = float_mode();
  std::barrier both(2);
  std::atomic<int> wrong{0};
  parallel_chunks(2, 2, 2, [&](std::int64_t, std::int64_t, std::int64_t) {
    both.arrive_and_wait();
    if (float_mode() != wanted) ++wrong;
  });
  CHECK(wrong == 0);
}

TEST_CASE("thread pool: signals are left to the program's own threads") {
  std::barrier both(2);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> blocked{false};
  parallel_chunks(2, 2, 2, [&](std::int64_t, std::int64_t, std::int64_t) {
    both.arrive_and_wait();
    if (std::this_thread::get_id() == caller) return;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGINT) == 1;
  });
  CHECK(blocked);
}

TEST_CASE("thread pool: a forked process has threads of its own") {
  CHECK(counts(8, 3) == std::vector<int>(8, 1));
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);  // ends it where it would wait forever
    std::barrier both(2);
    parallel_chunks(2, 2, 2,
                    [&](std::int64_t, std::int64_t, std::int64_t) { both.arrive_and_wait(); });
    _exit(counts(8, 3) == std::vector<int>(8, 1) ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace gradgraph

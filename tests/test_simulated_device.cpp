#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <thread>

#include "gradgraph/gradgraph.h"
#include "simulated_device.h"

/// The test-only device must be as unforgiving as a GPU, or it finds nothing.
namespace gg = gradgraph;
using gg::CopyKind;
using gg::tests::SimulatedDevice;

namespace {

constexpr int kFast = 0, kSlow = 200;  // microseconds of delay

/// Runs `touch` in a child process and says whether that killed it.
template <class Touch>
bool dies(const Touch& touch) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    std::freopen("/dev/null", "w", stderr);
    touch();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}

std::vector<unsigned char> read(SimulatedDevice& device, const void* memory, std::size_t bytes) {
  std::vector<unsigned char> host(bytes);
  device.copy(0, host.data(), memory, bytes, CopyKind::to_host);
  device.synchronize();
  return host;
}

/// A launch of `body` on up to two buffers.
struct Call {
  Call(std::function<void(const gg::KernelArgs&)> body, const void* in, void* out)
      : kernel{std::move(body)}, input(in), output(out) {
    launch.kernel = &kernel;
    launch.args.inputs = {&input, 1};
    launch.args.outputs = {&output, 1};
    launch.node = &node;
  }
  gg::Kernel kernel;
  const void* input;
  void* output;
  gg::Graph graph;
  gg::Node& node = gg::placeholder(graph, gg::float32, {}, "x").node();
  gg::Launch launch;
};

}  // namespace

TEST_SUITE("simulated device") {
  TEST_CASE("host code that touches its memory dies") {
    SimulatedDevice device("simulated:0", 0, 1, kFast);
    auto* memory = static_cast<volatile char*>(device.allocate(64));
    CHECK(dies([&] { memory[0] = 1; }));
    CHECK(dies([&] { static_cast<void>(memory[63]); }));
    CHECK_FALSE(dies([] {}));
    device.deallocate(const_cast<char*>(memory));
  }

  TEST_CASE("addresses are aligned and memory is poisoned") {
    SimulatedDevice device("simulated:3", 3, 1, kFast);
    void* memory = device.allocate(100);
    CHECK(reinterpret_cast<std::uintptr_t>(memory) % gg::Tensor::kAlignment == 0);
    CHECK(read(device, memory, 100) == std::vector<unsigned char>(100, 0xCD));
    CHECK(device.live_allocations() == 1);
    device.deallocate(memory);
    CHECK(device.live_allocations() == 0);
    device.deallocate(nullptr);
  }

  TEST_CASE("bytes go there, across and back") {
    SimulatedDevice device("simulated:0", 0, 7, kSlow);
    const std::vector<unsigned char> sent{1, 2, 3, 4, 5};
    void* a = device.allocate(5);
    void* b = device.allocate(5);
    device.copy(0, a, sent.data(), 5, CopyKind::to_device);
    device.copy(0, b, a, 5, CopyKind::within);
    CHECK(read(device, b, 5) == sent);
    device.deallocate(a);
    device.deallocate(b);
  }

  TEST_CASE("kernels run later, in order, with real addresses") {
    SimulatedDevice device("simulated:0", 0, 3, kSlow);
    auto* memory = static_cast<int*>(device.allocate(sizeof(int)));
    const int zero = 0;
    device.copy(0, memory, &zero, sizeof(int), CopyKind::to_device);
    const auto host_thread = std::this_thread::get_id();
    std::atomic<bool> elsewhere = true;
    Call add_one(
        [&](const gg::KernelArgs& args) {
          elsewhere = elsewhere && std::this_thread::get_id() != host_thread;
          *args.output<int>() = *args.input<int>(0) + 1;
        },
        memory, memory);
    // More than the queue holds: issuing waits for room instead of growing.
    constexpr int kTimes = static_cast<int>(SimulatedDevice::kQueueLength) + 50;
    for (int i = 0; i < kTimes; ++i) device.launch(0, add_one.launch);
    int result = 0;
    device.copy(0, &result, memory, sizeof(int), CopyKind::to_host);
    device.synchronize();
    CHECK(result == kTimes);
    CHECK(elsewhere);
    device.deallocate(memory);
  }

  TEST_CASE("streams run beside each other; events order them, across devices too") {
    SimulatedDevice first("simulated:0", 0, 11, kSlow), second("simulated:1", 1, 12, kSlow);
    auto* memory = static_cast<int*>(first.allocate(sizeof(int)));
    auto* other = static_cast<int*>(second.allocate(sizeof(int)));
    std::atomic<bool> release = false;
    Call slow(
        [&](const gg::KernelArgs& args) {
          while (!release) std::this_thread::yield();
          *args.output<int>() = 42;
        },
        nullptr, memory);
    int between = 0, result = 0;
    const auto computed = first.make_event(), copied = first.make_event();
    for (int round = 0; round < 3; ++round) {  // events are reused
      release = false;
      between = result = 0;
      first.launch(0, slow.launch);
      first.record(0, *computed);
      first.wait(1, *computed);
      first.copy(1, &between, memory, sizeof(int), CopyKind::to_host);
      first.record(1, *copied);
      second.wait(0, *copied);
      second.copy(0, other, &between, sizeof(int), CopyKind::to_device);
      second.copy(0, &result, other, sizeof(int), CopyKind::to_host);
      release = true;
      second.synchronize();
      CHECK(result == 42);
      first.synchronize(*copied);
    }
    const auto never = first.make_event();
    first.wait(0, *never);  // never recorded: nothing to wait for
    first.synchronize(*never);
    first.synchronize();
    first.deallocate(memory);
    second.deallocate(other);
  }

  TEST_CASE("an error waits for the next synchronize, once, and later work goes on") {
    SimulatedDevice device("simulated:0", 0, 5, kSlow);
    void* memory = device.allocate(4);
    Call refuse([](const gg::KernelArgs&) { throw gg::KernelError("index 7 is too large"); },
                nullptr, nullptr);
    int runs = 0;
    Call count([&](const gg::KernelArgs&) { ++runs; }, nullptr, nullptr);
    const auto event = device.make_event();
    CHECK_NOTHROW(device.launch(0, refuse.launch));
    CHECK_NOTHROW(device.launch(0, count.launch));
    device.record(0, *event);
    CHECK_THROWS_WITH_AS(device.synchronize(*event),
                         doctest::Contains("[placeholder] 'x': index 7 is too large"),
                         gg::RunError);
    CHECK(runs == 1);
    CHECK_NOTHROW(device.synchronize());
    device.deallocate(memory);
  }

  TEST_CASE("wrong addresses are errors") {
    SimulatedDevice device("simulated:0", 0, 5, kFast), other("simulated:1", 1, 5, kFast);
    int host = 0;
    void* mine = device.allocate(4);
    void* theirs = other.allocate(4);
    const auto fails = [&](void* to, const void* from, std::size_t bytes, CopyKind kind,
                           const char* message) {
      device.copy(0, to, from, bytes, kind);
      CHECK_THROWS_WITH_AS(device.synchronize(), doctest::Contains(message), std::logic_error);
    };
    fails(&host, theirs, 4, CopyKind::to_host, "not of its memory");
    fails(&host, &host, 4, CopyKind::to_host, "not of its memory");
    fails(mine, theirs, 4, CopyKind::to_device, "used as the host's");
    fails(&host, mine, 5, CopyKind::to_host, "not alive");
    Call kernel([](const gg::KernelArgs&) {}, &host, mine);
    device.launch(0, kernel.launch);
    CHECK_THROWS_WITH_AS(device.synchronize(), doctest::Contains("not of its memory"),
                         std::logic_error);
    device.deallocate(mine);
    fails(&host, mine, 4, CopyKind::to_host, "not alive");
    device.deallocate(mine);
    CHECK_THROWS_AS(device.synchronize(), std::logic_error);
    other.deallocate(theirs);
  }
}

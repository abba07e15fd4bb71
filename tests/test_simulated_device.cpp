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
  const auto stream = device.make_stream();
  stream->copy(host.data(), memory, bytes, CopyKind::to_host);
  stream->synchronize();
  stream->check();
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
    const auto stream = device.make_stream();
    stream->copy(a, sent.data(), 5, CopyKind::to_device);
    stream->copy(b, a, 5, CopyKind::within);
    stream->synchronize();
    CHECK(read(device, b, 5) == sent);

    SimulatedDevice peer("simulated:1", 1, 8, kSlow);
    void* c = peer.allocate(5);
    const auto receiving = peer.make_stream();
    receiving->copy(c, b, 5, CopyKind::between);
    receiving->synchronize();
    CHECK(read(peer, c, 5) == sent);
    peer.deallocate(c);
    device.deallocate(a);
    device.deallocate(b);
  }

  TEST_CASE("kernels run later, in order, with real addresses") {
    SimulatedDevice device("simulated:0", 0, 3, kSlow);
    auto* memory = static_cast<int*>(device.allocate(sizeof(int)));
    const int zero = 0;
    const auto stream = device.make_stream();
    stream->copy(memory, &zero, sizeof(int), CopyKind::to_device);
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
    for (int i = 0; i < kTimes; ++i) stream->launch(add_one.launch);
    int result = 0;
    stream->copy(&result, memory, sizeof(int), CopyKind::to_host);
    stream->synchronize();
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
    const auto compute = first.make_stream(), copies = first.make_stream(),
               elsewhere = second.make_stream();
    const auto computed = first.make_event(), copied = first.make_event();
    for (int round = 0; round < 3; ++round) {  // events are reused
      release = false;
      between = result = 0;
      compute->launch(slow.launch);
      compute->record(*computed);
      copies->wait(*computed);
      copies->copy(&between, memory, sizeof(int), CopyKind::to_host);
      copies->record(*copied);
      elsewhere->wait(*copied);
      elsewhere->copy(other, &between, sizeof(int), CopyKind::to_device);
      elsewhere->copy(&result, other, sizeof(int), CopyKind::to_host);
      release = true;
      elsewhere->synchronize();
      CHECK(result == 42);
      first.synchronize(*copied);
      CHECK(copied->seconds_since(*computed) >= 0);
      CHECK(computed->seconds_since(*copied) <= 0);
    }
    const auto never = first.make_event();
    compute->wait(*never);  // never recorded: nothing to wait for
    first.synchronize(*never);
    compute->synchronize();
    first.deallocate(memory);
    second.deallocate(other);
  }

  TEST_CASE("an error stays with its stream, once; later work goes on, but for updates") {
    SimulatedDevice device("simulated:0", 0, 5, kSlow);
    Call refuse([](const gg::KernelArgs&) { throw gg::KernelError("index 7 is too large"); },
                nullptr, nullptr);
    std::atomic<int> runs = 0, updates = 0;  // two streams work side by side
    Call count([&](const gg::KernelArgs&) { ++runs; }, nullptr, nullptr);
    Call update([&](const gg::KernelArgs&) { ++updates; }, nullptr, nullptr);
    update.launch.is_update = true;
    const auto stream = device.make_stream(), other = device.make_stream();
    stream->launch(update.launch);
    CHECK_NOTHROW(stream->launch(refuse.launch));
    CHECK_NOTHROW(stream->launch(count.launch));
    stream->launch(update.launch);
    other->launch(update.launch);
    CHECK_NOTHROW(stream->synchronize());
    CHECK_NOTHROW(other->synchronize());
    CHECK_NOTHROW(other->check());
    CHECK(runs == 1);
    CHECK(updates == 2);
    CHECK_THROWS_WITH_AS(stream->check(),
                         doctest::Contains("[placeholder] 'x': index 7 is too large"),
                         gg::RunError);
    CHECK_NOTHROW(stream->check());
    stream->launch(update.launch);
    stream->synchronize();
    CHECK(updates == 3);
  }

  TEST_CASE("wrong addresses are errors") {
    SimulatedDevice device("simulated:0", 0, 5, kFast), other("simulated:1", 1, 5, kFast);
    const auto stream = device.make_stream();
    int host = 0;
    void* mine = device.allocate(4);
    void* theirs = other.allocate(4);
    const auto check_fails = [&](const char* message) {
      stream->synchronize();
      CHECK_THROWS_WITH_AS(stream->check(), doctest::Contains(message), std::logic_error);
    };
    const auto fails = [&](void* to, const void* from, std::size_t bytes, CopyKind kind,
                           const char* message) {
      stream->copy(to, from, bytes, kind);
      check_fails(message);
    };
    fails(&host, theirs, 4, CopyKind::to_host, "not of its memory");
    fails(&host, &host, 4, CopyKind::to_host, "not of its memory");
    fails(mine, theirs, 4, CopyKind::to_device, "used as the host's");
    fails(theirs, mine, 4, CopyKind::between, "not of its memory");
    fails(mine, &host, 4, CopyKind::between, "not of its memory");
    fails(&host, mine, 5, CopyKind::to_host, "not alive");
    Call kernel([](const gg::KernelArgs&) {}, &host, mine);
    stream->launch(kernel.launch);
    check_fails("not of its memory");
    device.deallocate(mine);
    fails(&host, mine, 4, CopyKind::to_host, "not alive");
    CHECK(device.wrong_frees() == 0);
    device.deallocate(mine);
    CHECK(device.wrong_frees() == 1);
    other.deallocate(theirs);
  }

  TEST_CASE("memory has a limit where one is set") {
    SimulatedDevice device("simulated:0", 0, 5, kFast);
    device.limit_memory(100);
    void* first = device.allocate(60);
    CHECK(device.memory().free == 40);
    CHECK_THROWS_AS(device.allocate(41), std::bad_alloc);
    device.deallocate(first);
    device.deallocate(device.allocate(100));
    CHECK(device.memory().total == 100);
  }
}

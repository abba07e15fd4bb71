#include <doctest/doctest.h>

#include "cuda_emulation/emulation.h"
#include "device/cuda/cuda_device.h"
#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "op_rows.h"

/// What happens when a GPU has no memory left, is lost, or is not there at all.
namespace gg = gradgraph;
using gg::Tensor;
using gg::tests::check_close;
using gg::tests::contains;
using gg::tests::message_of;

TEST_SUITE("cuda faults") {
  TEST_CASE("without room the run names what is large, and a smaller batch goes on") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 1000}, "x");
    const auto y = gg::sum(gg::softmax(x * 2.f), 1);
    gg::Session session(graph, {.device = "cuda:1"});
    cuda_emulation::set_memory_limit(1, 8 << 20);
    const std::string message = message_of([&] {
      session.run({{x, Tensor::zeros(gg::float32, {4000, 1000})}}, {y});
    });
    CHECK(contains(message, "cuda:1"));
    CHECK(contains(message, "largest tensors"));
    for (int i = 0; i < 3; ++i)
      check_close(session.run({{x, Tensor::zeros(gg::float32, {10, 1000})}}, {y}),
                  {Tensor::full(gg::float32, {10}, 1)}, 1e-5);
    cuda_emulation::set_memory_limit(1, std::size_t{16} << 30);
  }

  TEST_CASE("sessions that come and go, and runs that fail, leave no memory behind") {
    const std::size_t before = cuda_emulation::live_allocations(0);
    for (int i = 0; i < 100; ++i) {
      gg::Graph graph;
      const auto x = gg::placeholder(graph, gg::float32, {4, 4}, "x");
      const auto indices = gg::placeholder(graph, gg::int64, {1}, "i");
      const auto y = gg::gather(gg::matmul(x, x), indices);
      gg::Session session(graph, {.device = "cuda:0"});
      const Tensor value = Tensor::zeros(gg::float32, {4, 4});
      session.run({{x, value}, {indices, Tensor{std::int64_t{3}}}}, {y});
      CHECK_THROWS(session.run({{x, value}, {indices, Tensor{std::int64_t{4}}}}, {y}));
    }
    CHECK(cuda_emulation::live_allocations(0) == before);
  }

  TEST_CASE("a GPU that is lost is an error, and the process goes on") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    const auto y = gg::exp(x);
    gg::Session session(graph, {.device = "cuda:0"});
    const Tensor zeros = Tensor::zeros(gg::float32, {2});
    session.run({{x, zeros}}, {y});
    cuda_emulation::fail_device("the GPU has fallen off the bus");
    CHECK(contains(message_of<gg::RunError>([&] {
                     session.run({{x, zeros}}, {y});
                   }),
                   "the GPU has fallen off the bus"));
    CHECK(contains(cuda_emulation::take_error(), "the GPU has fallen off the bus"));
    check_close(session.run({{x, zeros}}, {y}), {Tensor{1.f, 1.f}}, 0);
  }

  TEST_CASE("a step that cannot be recorded is an error, and the session goes on") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    const auto total = gg::variable(graph, Tensor{0.f, 0.f}, "total");
    const auto sum = gg::assign_add(total, x * 2.f);
    gg::Session session(graph, {.device = "cuda:0"});
    gg::Callable step = session.prepare({x}, {sum});
    const Tensor one = Tensor::full(gg::float32, {2}, 1),
                 three = Tensor::full(gg::float32, {3, 2}, 1);
    const auto refused = [&](const auto& run) {
      cuda_emulation::refuse_graphs(true);
      CHECK(contains(message_of<gg::RunError>(run), "making a graph of a step"));
      cuda_emulation::refuse_graphs(false);
    };
    step({one});
    refused([&] { step({one}); });
    refused([&] { step.run_steps(3, {three}); });
    CHECK(session.step() == 1);
    check_close(session.value(total), Tensor{2.f, 2.f}, 0);
    step({one});
    step.run_steps(3, {three});
    CHECK(session.step() == 5);
    check_close(session.value(total), Tensor{10.f, 10.f}, 0);
  }

  TEST_CASE("what is missing is said in one line") {
    using cuda_emulation::Machine;
    const auto absence = [](const Machine& machine) {
      cuda_emulation::set_machine(machine);
      const gg::CudaDevices found = gg::find_cuda_devices();
      cuda_emulation::set_machine({});
      CHECK(found.names.empty());
      return found.absence;
    };
    CHECK(absence({.devices = 0, .driver = 0, .status = cudaErrorInsufficientDriver}) ==
          "there is no NVIDIA driver (libcuda.so.1)");
    CHECK(absence({.devices = 0, .driver = 12020, .status = cudaErrorInsufficientDriver}) ==
          "the NVIDIA driver is for CUDA 12.2, and this library needs one for 13.0");
    CHECK(absence({.devices = 0, .status = cudaErrorNoDevice}) == "there is no NVIDIA GPU");
    CHECK(gg::find_cuda_devices().names == std::vector<std::string>{"cuda:0", "cuda:1"});
  }
}

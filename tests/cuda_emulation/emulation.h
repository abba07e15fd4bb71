#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// What tests ask of the emulated GPUs, beside NVIDIA's runtime API.
namespace cuda_emulation {

/// Who comes first among threads between two barriers, blocks of a launch, commands of different
/// streams and nodes of a graph. Whatever two of them share without being ordered, `forward` and
/// `reverse` give it to them in opposite orders.
enum class Order { forward, reverse, random };

/// When issued work runs: at once, so that the host finds it done as early as can be; only while
/// the host waits for something, as late as can be; or whenever the worker comes to it.
enum class Pace { eager, lazy, free };

/// At first as CUDA_EMULATION_ORDER, _SEED, _PACE and _CHECK in the environment say.
struct Settings {
  Order order = Order::forward;
  std::uint64_t seed = 1;
  Pace pace = Pace::free;
  /// Looks at every load and store of kernels (access_check.h), at 20 times the cost.
  bool check = false;
};
/// Waits for all work first.
void configure(const Settings& settings);

struct Range {
  const void* low = nullptr;
  std::size_t bytes = 0;
};
/// While it lives, the calling thread issues work that may touch `operands` only of the
/// allocations that hold one of them, and that finds nothing in those of `fresh`: an allocation
/// has many values, one beside and after the other. Seen where accesses are checked.
class OperandScope {
 public:
  OperandScope(std::vector<Range> operands, std::vector<Range> fresh);
  ~OperandScope();
  OperandScope(const OperandScope&) = delete;
  OperandScope& operator=(const OperandScope&) = delete;
};

/// The message of the error that made device work fail, which is forgotten with the error; ""
/// when none did. Waits for all work first.
std::string take_error();
/// Makes device work fail from now on, as that of a GPU that is lost.
void fail_device(const std::string& message);
/// Makes graphs fail to be instantiated, for want of memory, or be so again.
void refuse_graphs(bool refuse);

/// Of two captures of the same work, at different steps of training, how their nodes differ: what
/// replays would keep as it was at the capture. "" where they do not.
std::string changed_values(cudaGraph_t first, cudaGraph_t second);

/// What drivers and GPUs there are: cudaGetDeviceCount gives `status` where it is an error.
struct Machine {
  int devices = 2;  ///< kMaxDevices at most
  int driver = 13000;
  cudaError_t status = cudaSuccess;
  bool compiles = true;  ///< the driver takes PTX
};
inline constexpr int kMaxDevices = 4;
void set_machine(const Machine& machine);
/// A device's memory, 16 GiB at first: cudaMalloc refuses what would be more.
void set_memory_limit(int device, std::size_t bytes);
/// Launches of kernels that have run so far, those of graphs too.
std::uint64_t kernels_run();
/// Libraries of PTX that the driver has compiled so far, and those that are loaded.
std::uint64_t libraries_compiled();
std::size_t libraries_loaded();
/// Bytes that copies have moved so far, those of graphs too.
std::uint64_t copied_bytes();
/// Live allocations of a device.
std::size_t live_allocations(int device);
/// Allocations so far, of all devices and of the host's memory for them.
std::uint64_t allocations_made();

}  // namespace cuda_emulation

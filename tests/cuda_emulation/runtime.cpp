/// Bodies of the runtime API's functions for devices, memory, copies and launches.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>

#include "cuda_emulation/access_check.h"
#include "cuda_emulation/engine.h"
#include "cuda_emulation/ptx.h"

using cuda_emulation::engine;
using cuda_emulation::forbidden;
using cuda_emulation::issue;
using cuda_emulation::Kind;
using cuda_emulation::Memory;
using cuda_emulation::result;
using cuda_emulation::Work;

namespace cuda_emulation {
namespace {

constexpr std::size_t kSharedLimit = 48 << 10, kSharedOptin = 227 << 10;

thread_local cudaError_t last = cudaSuccess, explained = cudaSuccess;
thread_local std::string explanation;  // of `explained`
thread_local int current = 0;

Memory& memory_of(int device) { return engine().memory[static_cast<std::size_t>(device)]; }

/// Whether the bytes were memory of a device, or pinned memory of the host, and are not any more.
bool is_gone(const void* memory, std::size_t bytes) {
  const std::scoped_lock lock(engine().mutex);
  const auto gone = [&](const Memory& of) {
    const auto end = reinterpret_cast<std::uintptr_t>(memory) + bytes;
    return of.has(memory) && end > of.block(memory).second;
  };
  return gone(engine().host_memory) ||
         std::any_of(engine().memory.begin(), engine().memory.end(), gone);
}

/// Whether an argument is an address of memory that is gone. The end of an allocation is still
/// one of its addresses. What lies between the members of a struct may look like one, so those
/// are not looked into.
bool points_to_gone(const std::vector<std::byte>& argument) {
  if (argument.size() != sizeof(std::byte*)) return false;
  const std::byte* address = nullptr;
  std::memcpy(&address, argument.data(), sizeof address);
  return is_reserved(address) && is_gone(address, 1) && is_gone(address - 1, 1);
}

template <class T>
std::vector<std::byte> bytes_of(const T& value) {
  const auto* const bytes = reinterpret_cast<const std::byte*>(&value);
  return {bytes, bytes + sizeof value};
}

/// Arguments of the kernel that runs, whose loads of them are the only ones of ordinary memory.
struct Parameters {
  static constexpr std::size_t kMostBytes = 4096;  // as CUDA has it before version 12.1

  alignas(std::max_align_t) std::byte bytes[kMostBytes];
  void* addresses[kMostBytes];
};
Parameters parameters;

std::string run_kernel(const Work& work, Grid grid) {
  std::size_t number = 0, used = 0;
  for (const auto& argument : work.arguments) {
    if (points_to_gone(argument))
      return source_of(work.what) + ": memory of argument " + std::to_string(number) +
             " was freed before it ran";
    if (argument.size() > Parameters::kMostBytes - used)
      return source_of(work.what) + ": more than 4096 bytes of arguments";
    std::memcpy(parameters.bytes + used, argument.data(), argument.size());
    parameters.addresses[number++] = parameters.bytes + used;
    constexpr std::size_t kAlignment = alignof(std::max_align_t);
    used += (argument.size() + kAlignment - 1) / kAlignment * kAlignment;
  }
  grid.arguments = parameters.addresses;
  return run_grid(grid, engine().settings.order, engine().random);
}

}  // namespace

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last = error;
  return error;
}
cudaError_t result(cudaError_t error, const char* why) {
  explained = error;
  explanation = why;
  return result(error);
}
int current_device() { return current; }

}  // namespace cuda_emulation

// --- Devices ---------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  const std::scoped_lock lock(engine().mutex);
  *count = engine().machine.status == cudaSuccess ? engine().machine.devices : 0;
  return result(engine().machine.status);
}
cudaError_t cudaSetDevice(int device) {
  const std::scoped_lock lock(engine().mutex);
  if (device < 0 || device >= engine().machine.devices) return result(cudaErrorInvalidDevice);
  return cuda_emulation::current = device, cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) { return *device = cuda_emulation::current, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) {
  const std::scoped_lock lock(engine().mutex);
  return *version = engine().machine.driver, cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
/// Few multiprocessors, and an odd number: grids that stride have several rounds soon.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const std::scoped_lock lock(engine().mutex);
  *properties = {};
  if (device < 0 || device >= engine().machine.devices) return result(cudaErrorInvalidDevice);
  std::snprintf(properties->name, sizeof properties->name, "CUDA emulation %d", device);
  properties->major = 9;
  properties->warpSize = 32;
  properties->multiProcessorCount = 3;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->sharedMemPerBlock = cuda_emulation::kSharedLimit;
  properties->sharedMemPerBlockOptin = cuda_emulation::kSharedOptin;
  properties->totalGlobalMem = cuda_emulation::memory_of(device).limit();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
    case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      break;
    default: return result(cudaErrorInvalidValue, "an attribute that is not emulated");
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { return *can = 0, cudaSuccess; }
cudaError_t cudaDeviceSynchronize() {
  std::unique_lock lock(engine().mutex);
  return cuda_emulation::synchronize_all(lock);
}
cudaError_t cudaGetLastError() { return std::exchange(cuda_emulation::last, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return cuda_emulation::last; }
/// The texts of those that are met here, and why the calling thread met it.
const char* cudaGetErrorString(cudaError_t error) {
  static const std::map<cudaError_t, const char*> texts = {
      {cudaSuccess, "no error"},
      {cudaErrorInvalidValue, "invalid argument"},
      {cudaErrorMemoryAllocation, "out of memory"},
      {cudaErrorInsufficientDriver,
       "CUDA driver version is insufficient for CUDA runtime version"},
      {cudaErrorNoDevice, "no CUDA-capable device is detected"},
      {cudaErrorInvalidDevice, "invalid device ordinal"},
      {cudaErrorInvalidDeviceFunction, "invalid device function"},
      {cudaErrorInvalidConfiguration, "invalid configuration argument"},
      {cudaErrorInvalidResourceHandle, "invalid resource handle"},
      {cudaErrorLaunchFailure, "unspecified launch failure"},
      {cudaErrorNotReady, "device not ready"},
      {cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"},
      {cudaErrorStreamCaptureInvalidated,
       "operation failed due to a previous error during capture"},
  };
  thread_local std::string text;
  const auto found = texts.find(error);
  text = found == texts.end() ? "an error of the emulated device" : found->second;
  const std::scoped_lock lock(engine().mutex);
  const std::string why = error == cudaErrorLaunchFailure      ? engine().message
                          : error == cuda_emulation::explained ? cuda_emulation::explanation
                                                               : "";
  if (!why.empty()) text += " (" + why + ")";
  return text.c_str();
}

// --- Memory ----------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  std::unique_lock lock(engine().mutex);
  *memory = nullptr;
  if (forbidden()) return result(cudaErrorStreamCaptureUnsupported);
  if (engine().sticky != cudaSuccess) return result(engine().sticky);
  if (bytes == 0) return cudaSuccess;
  ++engine().allocations_made;
  *memory = cuda_emulation::memory_of(cuda_emulation::current).allocate(bytes);
  return result(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* memory) {
  std::unique_lock lock(engine().mutex);
  const cudaError_t error = cuda_emulation::synchronize_all(lock);  // as the real one does
  if (error == cudaErrorStreamCaptureUnsupported || !memory) return error;
  for (Memory& of : engine().memory) {
    const auto [low, high] = of.block(memory);
    if (!of.free(memory)) continue;
    cuda_emulation::note_freed(memory, high - low);
    return error;
  }
  return result(cudaErrorInvalidValue);
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const std::scoped_lock lock(engine().mutex);
  const Memory& memory = cuda_emulation::memory_of(cuda_emulation::current);
  *total = memory.limit();
  *free = memory.limit() - std::min(memory.used(), memory.limit());
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  const std::scoped_lock lock(engine().mutex);
  ++engine().allocations_made;
  *memory = engine().host_memory.allocate(bytes);
  return result(*memory || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  return cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
}
/// Does not wait for work that uses it: that is nobody's promise.
cudaError_t cudaFreeHost(void* memory) {
  const std::scoped_lock lock(engine().mutex);
  return result(!memory || engine().host_memory.free(memory) ? cudaSuccess
                                                             : cudaErrorInvalidValue);
}

// --- Copies ----------------------------------------------------------------------------------

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const bool to_device = cuda_emulation::is_device(to, bytes);
  const bool from_device = cuda_emulation::is_device(from, bytes);
  const bool within = kind == cudaMemcpyDeviceToDevice;
  const bool fits =
      kind == cudaMemcpyDefault || (to_device == (within || kind == cudaMemcpyHostToDevice) &&
                                    from_device == (within || kind == cudaMemcpyDeviceToHost));
  if (!fits || (!to_device && cuda_emulation::is_gone(to, bytes)) ||
      (!from_device && cuda_emulation::is_gone(from, bytes)))
    return result(cudaErrorInvalidValue,
                  "a copy's addresses do not fit its kind, or are not alive");
  const auto is_ordinary = [](const void* memory, bool of_device) {
    return !of_device && !cuda_emulation::is_reserved(memory);
  };
  if (stream && stream->capture && (is_ordinary(to, to_device) || is_ordinary(from, from_device)))
    return result(cudaErrorStreamCaptureUnsupported,
                  "a captured copy would keep the address of ordinary memory of the host");
  const auto run = [=](const Work&) -> std::string {
    if (cuda_emulation::is_gone(to, bytes) || cuda_emulation::is_gone(from, bytes))
      return "memory of a copy was freed before it ran";
    std::memmove(to, from, bytes);
    engine().copied_bytes += bytes;
    std::string error = from_device ? cuda_emulation::note_read(from, bytes) : "";
    if (error.empty() && to_device) error = cuda_emulation::note_written(to, bytes);
    return error;
  };
  return issue(stream,
               {.kind = Kind::copy,
                .arguments = {cuda_emulation::bytes_of(to), cuda_emulation::bytes_of(from),
                              cuda_emulation::bytes_of(bytes)},
                .run = run});
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, std::size_t bytes,
                                cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!cuda_emulation::is_device(memory, bytes)) return result(cudaErrorInvalidValue);
  const auto run = [=](const Work&) -> std::string {
    if (cuda_emulation::is_gone(memory, bytes)) return "memory was freed before it was filled";
    std::memset(memory, value, bytes);
    return cuda_emulation::note_written(memory, bytes);
  };
  return issue(stream,
               {.kind = Kind::fill,
                .arguments = {cuda_emulation::bytes_of(memory), cuda_emulation::bytes_of(value),
                              cuda_emulation::bytes_of(bytes)},
                .run = run});
}
/// The host's copy waits for everything, as the default stream does.
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  CUstream_st own;
  {
    std::unique_lock lock(engine().mutex);
    if (const cudaError_t error = cuda_emulation::synchronize_all(lock)) return error;
    engine().add(&own);
  }
  cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, &own);
  std::unique_lock lock(engine().mutex);
  if (const cudaError_t later = cuda_emulation::synchronize_all(lock)) error = later;
  engine().remove(lock, &own);
  return error;
}
cudaError_t cudaMemcpyToSymbolAsync(const void* symbol, const void* from, std::size_t bytes,
                                    std::size_t offset, cudaMemcpyKind, cudaStream_t stream) {
  auto* const to = static_cast<std::byte*>(const_cast<void*>(symbol)) + offset;
  const auto run = [=](const Work&) -> std::string { return std::memcpy(to, from, bytes), ""; };
  return issue(stream, {.kind = Kind::copy, .what = symbol, .run = run});
}

// --- Kernels ---------------------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const std::scoped_lock lock(engine().mutex);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  const auto bytes = static_cast<std::size_t>(value);
  if (bytes > cuda_emulation::kSharedOptin) return result(cudaErrorInvalidValue);
  return engine().shared_limits[kernel] = bytes, cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* kernel, dim3 blocks, dim3 threads, void** arguments,
                             std::size_t shared_bytes, cudaStream_t stream) {
  const std::size_t block = std::size_t{threads.x} * threads.y * threads.z;
  if (block == 0 || block > 1024 || threads.z > 64 || blocks.x == 0 || blocks.y == 0 ||
      blocks.z == 0 || blocks.x > 0x7FFFFFFF || blocks.y > 65535 || blocks.z > 65535)
    return result(cudaErrorInvalidConfiguration);
  if (stream && stream->device != cuda_emulation::current)
    return result(cudaErrorInvalidResourceHandle, "a stream of another device");
  cuda_emulation::Signature signature{};
  {
    const std::scoped_lock lock(engine().mutex);
    const auto found = engine().kernels.find(kernel);
    if (found == engine().kernels.end()) return result(cudaErrorInvalidDeviceFunction);
    signature = found->second;
    const auto limit = engine().shared_limits.find(kernel);
    const bool raised = limit != engine().shared_limits.end();
    if (shared_bytes > (raised ? limit->second : cuda_emulation::kSharedLimit))
      return result(cudaErrorInvalidValue);
  }
  Work work{.kind = Kind::kernel, .what = kernel};
  for (std::size_t i = 0; i < signature.count; ++i) {
    const auto* const bytes = static_cast<const std::byte*>(arguments[i]);
    work.arguments.emplace_back(bytes, bytes + signature.sizes[i]);
  }
  const cuda_emulation::Grid grid{kernel, signature, blocks, threads, shared_bytes, nullptr};
  work.run = [grid](const Work& self) { return cuda_emulation::run_kernel(self, grid); };
  return issue(stream, std::move(work));
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const auto run = [=](const Work&) -> std::string { return function(data), ""; };
  return issue(stream,
               {.kind = Kind::host, .what = reinterpret_cast<const void*>(function), .run = run});
}

// --- Code that is compiled while the program runs --------------------------------------------

namespace {

/// What a library is a handle of: the one kernel in it.
struct Library {
  explicit Library(const char* text) : kernel(text), sizes(kernel.parameter_sizes()) {
    sizes.push_back(0);
  }
  cuda_emulation::PtxKernel kernel;
  std::vector<std::size_t> sizes;
};
void run_ptx(const void* kernel, void* const* arguments) {
  static_cast<const Library*>(kernel)->kernel.run(arguments);
}

}  // namespace

cudaError_t cudaLibraryLoadData(cudaLibrary_t* library, const void* code, cudaJitOption*, void**,
                                unsigned, cudaLibraryOption*, void**, unsigned) {
  {
    const std::scoped_lock lock(engine().mutex);
    if (forbidden()) return result(cudaErrorStreamCaptureUnsupported);
    if (!engine().machine.compiles) return result(cudaErrorJitCompilerNotFound);
  }
  try {
    auto loaded = std::make_unique<Library>(static_cast<const char*>(code));
    const std::scoped_lock lock(engine().mutex);
    engine().kernels[loaded.get()] = {&run_ptx, loaded->sizes.data(), loaded->sizes.size() - 1};
    ++engine().libraries_compiled;
    ++engine().libraries_loaded;
    *library = reinterpret_cast<cudaLibrary_t>(loaded.release());
    return cudaSuccess;
  } catch (const std::invalid_argument& unknown) {
    static thread_local std::string why;
    why = std::string("PTX that is not emulated: ") + unknown.what();
    return result(cudaErrorInvalidPtx, why.c_str());
  }
}
cudaError_t cudaLibraryGetKernel(cudaKernel_t* kernel, cudaLibrary_t library, const char* name) {
  if (reinterpret_cast<const Library*>(library)->kernel.name() != name)
    return result(cudaErrorSymbolNotFound);
  *kernel = reinterpret_cast<cudaKernel_t>(library);
  return cudaSuccess;
}
cudaError_t cudaLibraryUnload(cudaLibrary_t library) {
  std::unique_lock lock(engine().mutex);
  cuda_emulation::synchronize_all(lock);
  engine().kernels.erase(reinterpret_cast<const void*>(library));
  --engine().libraries_loaded;
  delete reinterpret_cast<Library*>(library);
  return cudaSuccess;
}

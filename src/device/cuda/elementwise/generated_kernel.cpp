#include "device/cuda/elementwise/generated_kernel.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <future>
#include <mutex>
#include <unordered_map>

#include "core/text.h"
#include "device/kernel.h"

namespace gradgraph::cuda {

/// A text and what the driver made of it.
class CompiledText {
 public:
  explicit CompiledText(std::string text) : text_(std::move(text)) {}
  ~CompiledText() {
    if (status_.valid()) status_.wait();
    unload();
  }
  CompiledText(const CompiledText&) = delete;
  CompiledText& operator=(const CompiledText&) = delete;

  /// Has it compiled on a thread of its own, which has the caller's device.
  void start() {
    std::call_once(started_, [&] {
      int device = 0;
      cudaGetDevice(&device);
      status_ = std::async([this, device] {
        cudaSetDevice(device);
        return load();
      });
    });
  }
  /// Waits for that. Null where the driver compiles nothing, or is older than the text's version
  /// of PTX. Throws a KernelError for text that is wrong.
  const void* kernel() {
    start();
    std::call_once(ended_, [&] {
      const cudaError_t status = status_.get();
      if (status == cudaErrorInvalidPtx || status == cudaErrorSymbolNotFound)
        throw KernelError(
            fmt::format("a generated kernel is refused: {}", cudaGetErrorString(status)));
    });
    return kernel_;
  }

  /// One for all that have this text.
  static std::shared_ptr<CompiledText> of(std::string text) {
    static std::mutex mutex;
    static std::unordered_map<std::string, std::weak_ptr<CompiledText>> known;
    const std::scoped_lock lock(mutex);
    if (auto found = known[text].lock()) return found;
    std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
    auto compiled = std::make_shared<CompiledText>(text);
    known[std::move(text)] = compiled;
    return compiled;
  }

 private:
#if CUDART_VERSION >= 12080
  cudaError_t load() {
    cudaError_t status =
        cudaLibraryLoadData(&library_, text_.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0);
    cudaKernel_t kernel = nullptr;
    if (status == cudaSuccess) status = cudaLibraryGetKernel(&kernel, library_, "program");
    if (status == cudaSuccess)
      kernel_ = reinterpret_cast<const void*>(kernel);
    else
      cudaGetLastError();
    return status;
  }
  void unload() {
    if (library_) cudaLibraryUnload(library_);
  }
  cudaLibrary_t library_ = nullptr;
#else  // the runtime has no such functions
  static cudaError_t load() { return cudaErrorNotSupported; }
  void unload() {}
#endif

  std::string text_;
  std::once_flag started_, ended_;
  const void* kernel_ = nullptr;
  std::shared_future<cudaError_t> status_;  ///< the last: nothing goes before it is there
};

namespace {

/// From here on a thread has four elements: fewer, and threads rather wait side by side.
constexpr std::int32_t kMany = std::int32_t{1} << 17;

}  // namespace

std::optional<GeneratedKernel> GeneratedKernel::make(const FloatCode& code,
                                                     const AddressTable& table, bool may_stop,
                                                     bool may_align) {
  if (table.size() > kMaxAddresses) return std::nullopt;
  const int lanes = code.count >= kMany && may_align && has_quads(code) ? 4 : 1;
  std::string text = write_program(code, table, lanes, may_stop);
  if (text.empty()) return std::nullopt;
  return GeneratedKernel(std::move(text), lanes);
}

GeneratedKernel::GeneratedKernel(std::string text, int lanes)
    : compiled_(CompiledText::of(std::move(text))), lanes_(lanes) {
  compiled_->start();
}

const void* GeneratedKernel::kernel(std::span<const void* const> addresses) const {
  if (lanes_ > 1 && !std::ranges::all_of(addresses, is_aligned)) return nullptr;
  return compiled_->kernel();
}

}  // namespace gradgraph::cuda

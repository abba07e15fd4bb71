/// Kernels of PTX, which is what a generated kernel comes as.

#include <cuda_runtime_api.h>

#include <string>

#include "cuda_emulation/helpers.h"

namespace cuda_emulation {
namespace {

/// A library and its kernel.
class Ptx {
 public:
  explicit Ptx(const std::string& text) {
    REQUIRE_OK(
        cudaLibraryLoadData(&library_, text.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    REQUIRE_OK(cudaLibraryGetKernel(&kernel_, library_, "program"));
  }
  Ptx(const Ptx&) = delete;
  Ptx& operator=(const Ptx&) = delete;
  ~Ptx() { cudaLibraryUnload(library_); }

  cudaError_t launch(const float* from, float* to, unsigned threads, cudaStream_t stream) const {
    const void* addresses[] = {from, to};
    void* arguments[] = {addresses};
    return cudaLaunchKernel(reinterpret_cast<const void*>(kernel_), 1, threads, arguments, 0,
                            stream);
  }
  cudaKernel_t kernel() const { return kernel_; }
  cudaLibrary_t library() const { return library_; }

 private:
  cudaLibrary_t library_ = nullptr;
  cudaKernel_t kernel_ = nullptr;
};

/// to[i] = from[i] for i below `count`, from each thread's number on in steps of their number;
/// `body` is put between the load to %x and the store.
std::string copying(int count, const std::string& body) {
  return R"(.version 7.1
.visible .entry program(.param .align 8 .b8 addresses[16])
{
.reg .b32 %at, %step, %r<2>;
.reg .b64 %in, %out, %a;
.reg .f32 %x;
.reg .pred %more;
mov.u32 %at, %tid.x;
mov.u32 %step, %ntid.x;
mov.u32 %r1, 7;
ld.param.u64 %in, [addresses];
ld.param.u64 %out, [addresses+8];
$next:
mad.wide.u32 %a, %at, 4, %in;
ld.global.f32 %x, [%a];
)" + body +
         R"(mad.wide.u32 %a, %at, 4, %out;
st.global.f32 [%a], %x;
add.u32 %at, %at, %step;
setp.lt.u32 %more, %at, )" +
         std::to_string(count) + R"(;
@%more bra $next;
ret;
}
)";
}

TEST_CASE("emulated PTX: a loop, and a scope whose registers hide those around it") {
  const Stream stream;
  std::vector<float> values(100);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Ptx plain(copying(100, ""));
  const Ptx hiding(copying(100,
                           "{\n.reg .b32 %r<2>;\nmov.u32 %r1, 3;\n}\n"
                           "cvt.rn.f32.u16 %x, %r1;\n"));
  Array<float> from(values), to(100);
  REQUIRE_OK(plain.launch(from, to, 32, stream));
  REQUIRE_OK(cudaStreamSynchronize(stream));
  CHECK(to.values() == values);
  REQUIRE_OK(hiding.launch(from, to, 32, stream));
  REQUIRE_OK(cudaStreamSynchronize(stream));
  CHECK(to.values() == std::vector<float>(100, 7));
}

TEST_CASE("emulated PTX: what is not known is no kernel, and nobody has the wrong name") {
  for (const char* const line : {"sin.approx.f32 %x, %x;\n", "mov.f32 %x, %unknown;\n",
                                 "mov.f32 %x, %x\n", "@%more\n", "bra $nowhere\n"}) {
    CAPTURE(line);
    cudaLibrary_t library = nullptr;
    CHECK_GIVES(cudaErrorInvalidPtx,
                cudaLibraryLoadData(&library, copying(1, line).c_str(), nullptr, nullptr, 0,
                                    nullptr, nullptr, 0));
  }
  const Ptx plain(copying(1, ""));
  cudaKernel_t kernel = nullptr;
  CHECK_GIVES(cudaErrorSymbolNotFound, cudaLibraryGetKernel(&kernel, plain.library(), "other"));
}

TEST_CASE("planted faults: PTX that stores an element too many, or reads what nobody wrote") {
  const Ptx many(copying(kPlantedSize + 1, "")), plain(copying(kPlantedSize, ""));
  const Issue past = [&](float* a, float* b, cudaStream_t stream) {
    return many.launch(a, b, 32, stream);
  };
  const Issue unwritten = [&](float* a, float* b, cudaStream_t stream) {
    return plain.launch(b, a, 32, stream);
  };
  CHECK_NAMES(error_of({.check = true}, past), "out of bounds", "thread (0,0,0)");
  CHECK_NAMES(error_of({.check = true}, unwritten), "nobody has written", "thread (0,0,0)");
}

}  // namespace
}  // namespace cuda_emulation

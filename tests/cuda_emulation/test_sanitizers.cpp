/// Planted mistakes under the address and undefined behaviour sanitizers, which end the process:
/// each in one of its own.

#include <cstdio>

#include "cuda_emulation/helpers.h"

namespace cuda_emulation {
namespace {

/// What the program of planted faults says that is built with sanitizers.
std::string sanitized(const std::string& fault) {
  const std::string command = CUDA_EMULATION_PLANTED " " + fault + " 2>&1";
  std::FILE* const program = popen(command.c_str(), "r");
  REQUIRE(program != nullptr);
  std::string text;
  for (int c; (c = std::fgetc(program)) != EOF;) text += static_cast<char>(c);
  CHECK(pclose(program) != 0);
  return text;
}

TEST_CASE("planted faults: the sanitizers stop at them") {
  CHECK_NAMES(sanitized("global"), "use-after-poison", "planted.cu:");
  CHECK_NAMES(sanitized("static"), "out of bounds", "planted.cu:");
  CHECK_NAMES(sanitized("pointer"), "", "planted.cu:");
  CHECK_NAMES(sanitized("dynamic"), "", "planted.cu:");
#ifndef __clang__  // copies a float4 by memcpy, which knows no alignment
  CHECK_NAMES(sanitized("misaligned"), "misaligned", "planted.cu:");
#endif
  CHECK_NAMES(sanitized("host"), "SEGV", "planted_alone.cpp:");
  CHECK_NAMES(sanitized("barrier"), "different barriers", "planted.cu:");
}

}  // namespace
}  // namespace cuda_emulation

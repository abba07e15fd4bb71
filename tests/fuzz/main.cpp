// `fuzz_readers READER [libFuzzer's options] [corpus]`, where READER is of fuzz/readers.cpp.

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "fuzz/readers.h"

namespace {
const gradgraph::tests::FuzzedReader* chosen = nullptr;
}

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  const std::string_view name = *count > 1 ? (*arguments)[1] : "";
  for (const auto& reader : gradgraph::tests::fuzzed_readers())
    if (name == reader.name) chosen = &reader;
  if (!chosen) {
    std::fputs("fuzz_readers READER ..., where READER is one of:\n", stderr);
    for (const auto& reader : gradgraph::tests::fuzzed_readers())
      std::fprintf(stderr, "  %s\n", reader.name);
    std::exit(2);
  }
  for (int i = 1; i + 1 < *count; ++i) (*arguments)[i] = (*arguments)[i + 1];
  --*count;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
  gradgraph::tests::read_bytes(*chosen, bytes, size);
  return 0;
}

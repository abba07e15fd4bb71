// `copy_weights FROM TO` reads a file of tensors and writes what it holds to another.

#include <cstdio>
#include <exception>

#include "gradgraph/weights.h"

int main(int count, char** arguments) {
  if (count != 3) {
    std::fputs("copy_weights FROM TO\n", stderr);
    return 2;
  }
  try {
    const gg::Safetensors file = gg::read_safetensors(arguments[1]);
    gg::write_safetensors(arguments[2], file.tensors, file.metadata);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}

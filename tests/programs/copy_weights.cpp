// `copy_weights FROM TO` reads a file of tensors and writes what it holds to another, of the kind
// that the name ends in: .safetensors or .npz.

#include <cstdio>
#include <exception>
#include <filesystem>

#include "gradgraph/npy.h"
#include "gradgraph/weights.h"

int main(int count, char** arguments) {
  if (count != 3) {
    std::fputs("copy_weights FROM TO\n", stderr);
    return 2;
  }
  const std::filesystem::path from = arguments[1], to = arguments[2];
  try {
    gg::Safetensors file;
    if (from.extension() == ".npz")
      file.tensors = gg::read_npz(from);
    else
      file = gg::read_safetensors(from);
    if (to.extension() == ".npz")
      gg::write_npz(to, file.tensors);
    else
      gg::write_safetensors(to, file.tensors, file.metadata);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}

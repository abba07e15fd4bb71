/// Prints the devices of this machine, and what they can do at most.
#include <cstdio>
#include <exception>
#include <string>

#include "gradgraph/gradgraph.h"

namespace {

std::string gigabytes(std::size_t bytes) {
  return std::to_string((bytes + 500'000'000) / 1'000'000'000) + " GB";
}

void print_devices() {
  for (const gg::DeviceDescription& device : gg::describe_devices()) {
    std::printf("%s: %s; %s of memory, %s free\n", device.name.c_str(), device.words.c_str(),
                gigabytes(device.memory_bytes).c_str(), gigabytes(device.free_bytes).c_str());
    std::fflush(stdout);
    const gg::Ceilings ceilings = gg::measure_ceilings(device.name);
    std::printf("  float32: %.0f GFLOP/s; memory: %.0f GB/s\n", ceilings.flops_per_second * 1e-9,
                ceilings.bytes_per_second * 1e-9);
  }
}

}  // namespace

int main() {
  try {
    print_devices();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

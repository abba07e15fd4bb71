/// Prints the devices of this machine, and what they can do at most; --measure: measures costs.
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

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

constexpr const char* kUsage =
    "usage: devices [--measure]\n\n"
    "Prints the devices of this machine, and what they can do at most.\n"
    "--measure: measures what nodes and copies cost on each, and keeps that in the cache folder\n"
    "for programs whose --device is auto.\n";

}  // namespace

int main(int argc, char** argv) {
  const std::string_view flag = argc > 1 ? argv[1] : "";
  if (argc > 2 || (argc == 2 && flag != "--measure" && flag != "--help" && flag != "-h")) {
    std::fprintf(stderr, "error: devices takes no %s (--help lists the flags)\n", argv[argc - 1]);
    return 2;
  }
  try {
    if (flag == "--measure")
      std::printf("%s", gg::measure_devices().c_str());
    else if (argc == 2)
      std::printf("%s", kUsage);
    else
      print_devices();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

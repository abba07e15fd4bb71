#include <array>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>

#include "device/cuda/elementwise/generated_program.h"
#include "device/cuda/elementwise/step_functions.h"

/// Writes generated kernels, with every step there is, into a folder, for ptxas to read
/// (tests/gpu_build.sh): write_programs DIR
namespace gg = gradgraph;
namespace cuda = gradgraph::cuda;

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  // Two inputs, as 16 bits and repeated bytes, a value and a number, into all kinds of results.
  cuda::FloatCode code;
  code.count = 4096;
  code.num_axes = 2;
  code.extents[0] = cuda::FastDivisor(64);
  code.extents[1] = cuda::FastDivisor(64);
  code.four_share_row = 1;
  code.strides[0][0] = 1;
  code.num_loads = code.num_registers = 2;
  code.loads[1] = 1;
  code.reading[0] = cuda::kOwnIndex;
  code.reading[2] = cuda::kAtZero;
  code.num_uniforms = code.num_constants = 1;
  code.uniforms[0] = 2;
  constexpr std::array kStored = {cuda::Stored::float32, cuda::Stored::byte,
                                  cuda::Stored::float16, cuda::Stored::bfloat16};
  for (int step = 0; step < cuda::codes::count(cuda::codes::Generated{}); ++step) {
    if (cuda::step_function(step).empty()) {
      std::cerr << "step " << step << " is not there\n";
      return 1;
    }
    const auto output = static_cast<std::uint8_t>(step % 4);
    code.steps[code.num_steps++] = {
        .code = static_cast<std::uint8_t>(step),
        .result = static_cast<std::uint8_t>(step % 2),
        .operands = {static_cast<std::uint8_t>(step % 2), cuda::kUniform, cuda::kConstantValue},
        .output = output};
  }
  for (std::size_t i = 0; i < kStored.size(); ++i) code.outputs_stored[i] = kStored[i];
  for (const auto stored : {cuda::Stored::float16, cuda::Stored::bfloat16, cuda::Stored::byte})
    for (const int lanes : {1, 4}) {
      code.inputs_stored[0] = stored;
      code.inputs_stored[1] = stored == cuda::Stored::byte ? cuda::Stored::float32 : stored;
      const std::string name = std::to_string(static_cast<int>(stored)) + std::to_string(lanes);
      std::ofstream(std::string(argv[1]) + "/program" + name + ".ptx") << cuda::write_program(
          code, {.shared = 1, .inputs_of_set = 2, .outputs_of_set = 4}, lanes, lanes == 1);
    }
}

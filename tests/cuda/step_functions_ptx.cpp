#include "device/cuda/elementwise/step_functions.h"

#include <string>

#include "core/text.h"
#include "cuda_emulation/ptx.h"
#include "device/cuda/elementwise/float_code.h"

/// In place of what nvcc makes of step_functions.cu: functions of the same form, each of one
/// instruction that the emulated GPU has, and no other one.
namespace gradgraph::cuda {
namespace {

template <int... kCodes>
float run_any(std::integer_sequence<int, kCodes...>, int code, float a, float b, float c) {
  static constexpr float (*functions[])(float, float, float) = {codes::calculate<kCodes>...};
  return functions[code](a, b, c);
}
constexpr int kSteps = codes::count(codes::Generated{});

std::string write_functions() {
  cuda_emulation::set_ptx_step([](int code, float a, float b, float c) {
    return run_any(std::make_integer_sequence<int, kSteps>{}, code, a, b, c);
  });
  std::string text;
  for (int code = 0; code < kSteps; ++code) {
    const std::string name = fmt::format("_ZN9gradgraph4cuda8run_stepILi{}EEEffff", code);
    text += fmt::format(".func  (.param .b32 func_retval0) {}(\n", name);
    for (int i = 0; i < 3; ++i)
      text += fmt::format("\t.param .b32 {}_param_{}{}\n", name, i, i < 2 ? "," : "");
    text += ")\n{\n\t.reg .b32 \t%r<5>;\n\n";
    for (int i = 0; i < 3; ++i)
      text += fmt::format("\tld.param.f32 \t%r{}, [{}_param_{}];\n", i, name, i);
    text += fmt::format("\temulated_step.{} \t%r3, %r0, %r1, %r2;\n", code);
    text += "\tst.param.f32 \t[func_retval0+0], %r3;\n\tret;\n\n}\n";
  }
  return text;
}

}  // namespace

std::string_view step_functions_ptx() {
  static const std::string text = write_functions();
  return text;
}

}  // namespace gradgraph::cuda

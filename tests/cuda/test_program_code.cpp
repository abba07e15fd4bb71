#include <doctest/doctest.h>

#include <array>

#include "device/cuda/elementwise/program_code.h"
#include "gradgraph/gradgraph.h"

/// How programs are written down for the GPU.
namespace gg = gradgraph;
using gg::ElementwiseProgram;
using gg::Shape;
using gg::cuda::ProgramCode;

namespace {

ElementwiseProgram::Instruction instruction(const char* op, std::vector<std::int32_t> operands,
                                            gg::DType dtype = gg::float32) {
  ElementwiseProgram::Instruction result{
      .op = &gg::op_registry().at(op),
      .num_operands = static_cast<std::int32_t>(operands.size()),
      .dtype = dtype};
  std::copy(operands.begin(), operands.end(), result.operands.begin());
  return result;
}

/// The place of the first step of some kind for an input or output.
int place_of(const ProgramCode& code, int kind, int index) {
  for (int i = 0; i < code.num_steps; ++i)
    if (code.steps[i].code == kind && code.steps[i].index == index) return i;
  return -1;
}
constexpr int kLoadFloat = gg::cuda::kLoad, kStoreFloat = gg::cuda::kStore;

}  // namespace

TEST_SUITE("cuda programs") {
  TEST_CASE("an update is stored when nobody reads the old value any more") {
    // a = -b and b = a + b, of the old ones.
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::float32, gg::float32};
    program.instructions = {instruction("neg", {1}), instruction("add", {0, 1})};
    program.results = {2, 3};
    const std::array shapes = {Shape{8}, Shape{8}};
    const auto code = gg::cuda::encode(program, shapes, 2);
    REQUIRE(code);
    CHECK(place_of(*code, kStoreFloat, 0) > place_of(*code, kLoadFloat, 0));
    CHECK(place_of(*code, kStoreFloat, 1) > place_of(*code, kLoadFloat, 1));
  }

  TEST_CASE("what may be written over an input waits for all that are read at their own index") {
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::float32, gg::float32, gg::float32};
    program.instructions = {instruction("neg", {0}), instruction("add", {1, 2})};
    program.results = {3, 4};
    const std::array shapes = {Shape{8}, Shape{8}, Shape{1}};
    const auto code = gg::cuda::encode(program, shapes, 0);
    REQUIRE(code);
    CHECK(place_of(*code, kStoreFloat, 0) > place_of(*code, kLoadFloat, 1));
    CHECK(code->reading[2] == gg::cuda::kAtZero);
  }

  TEST_CASE("registers are used again") {
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::float32};
    for (std::int32_t i = 0; i < 100; ++i)
      program.instructions.push_back(instruction("exp", {i}));
    program.results = {100};
    const std::array shapes = {Shape{8}};
    const auto code = gg::cuda::encode(program, shapes, 0);
    REQUIRE(code);
    CHECK(code->num_registers == 1);
    CHECK(code->num_steps == 102);
    CHECK(code->is_narrow);
  }

  TEST_CASE("what is too long, or has too many operands, is declined") {
    ElementwiseProgram longest;
    longest.shape = {8};
    longest.input_dtypes = {gg::float32};
    for (std::int32_t i = 0; i < gg::cuda::kMaxSteps; ++i)
      longest.instructions.push_back(instruction("exp", {i}));
    longest.results = {gg::cuda::kMaxSteps};
    CHECK_FALSE(gg::cuda::encode(longest, std::array{Shape{8}}, 0));

    ElementwiseProgram widest;
    widest.shape = {8};
    widest.input_dtypes.assign(gg::cuda::kMaxInputs + 1, gg::float32);
    widest.instructions = {instruction("add", {0, gg::cuda::kMaxInputs})};
    widest.results = {gg::cuda::kMaxInputs + 1};
    const std::vector<Shape> shapes(gg::cuda::kMaxInputs + 1, Shape{8});
    CHECK_FALSE(gg::cuda::encode(widest, shapes, 0));
  }

  TEST_CASE("broadcast inputs share axes where all go on alike") {
    ElementwiseProgram program;
    program.shape = {2, 3, 4, 5};
    program.input_dtypes = {gg::float32, gg::float32};
    program.instructions = {instruction("add", {0, 1})};
    program.results = {2};
    const std::array shapes = {Shape{2, 3, 4, 5}, Shape{3, 1, 1}};
    const auto code = gg::cuda::encode(program, shapes, 0);
    REQUIRE(code);
    CHECK(code->reading[0] == gg::cuda::kOwnIndex);
    CHECK(code->reading[1] == 0);
    REQUIRE(code->num_axes == 3);
    CHECK(code->extents[0] == 20);
    CHECK(code->strides[0][0] == 0);
    CHECK(code->strides[0][1] == 1);
    CHECK(code->strides[0][2] == 0);
  }
}

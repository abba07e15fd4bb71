#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "device/cpu/fused/program_runner.h"
#include "device/shared/elementwise_ops.h"
#include "kernel_helpers.h"

/// Elementwise programs as threaded code, against one op after the other.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

using Instruction = ElementwiseProgram::Instruction;

ElementwiseProgram make_program(DType dtype, std::int64_t count, std::int32_t inputs) {
  ElementwiseProgram program;
  program.shape = {count};
  program.input_dtypes.assign(static_cast<std::size_t>(inputs), dtype);
  return program;
}

/// Adds an instruction and returns its register. Parameters are 0.75.
std::int32_t add(ElementwiseProgram& program, const std::string& op, std::int32_t a,
                 std::int32_t b = -1, std::int32_t c = -1) {
  Instruction instruction{.op = &op_registry().at(op),
                          .num_operands = b < 0 ? 1 : (c < 0 ? 2 : 3),
                          .operands = {a, b, c},
                          .dtype = program.input_dtypes[0]};
  for (const std::string_view name : parameters_of(op)) instruction.attributes.set(name, 0.75);
  program.instructions.push_back(instruction);
  return program.num_inputs() + static_cast<std::int32_t>(program.instructions.size()) - 1;
}

Tensor positive_noise(DType dtype, std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(0.1, 2);
  Tensor values(float64, Shape{count});
  for (double& x : values.span<double>()) x = uniform(random);
  return values.cast(dtype);
}

/// All results, an op at a time.
std::vector<Tensor> compute_by_rows(const ElementwiseProgram& program,
                                    std::vector<Tensor> registers) {
  for (const Instruction& instruction : program.instructions) {
    Tensor result(instruction.dtype, program.shape);
    const void* operands[kMaxOperands] = {};
    unsigned moves = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(instruction.num_operands); ++i) {
      const Tensor& operand = registers[static_cast<std::size_t>(instruction.operands[i])];
      operands[i] = operand.raw();
      if (operand.num_elements() == program.shape.num_elements()) moves |= 1u << i;
    }
    const Tensor parameter = Tensor::full(instruction.dtype, {}, 0.75);
    for (std::size_t i = 0; i < parameters_of(instruction.op->name).size(); ++i)
      operands[static_cast<std::size_t>(instruction.num_operands) + i] = parameter.raw();
    const ElementLoop loop =
        find_loop(instruction.op->name, instruction.dtype, instruction.dtype);
    loop(operands, moves, result.raw(), program.shape.num_elements());
    registers.push_back(result);
  }
  std::vector<Tensor> results;
  for (const std::int32_t result : program.results)
    results.push_back(registers[static_cast<std::size_t>(result)]);
  return results;
}

/// Updates are made in place, in copies of the inputs.
std::vector<Tensor> run(const ElementwiseProgram& program, const std::vector<Tensor>& inputs,
                        std::int32_t updates = 0) {
  std::vector<Shape> shapes;
  std::vector<const void*> in;
  std::vector<Tensor> results;
  for (std::size_t i = 0; i < program.results.size(); ++i)
    results.push_back(static_cast<std::int32_t>(i) < updates
                          ? inputs[i].clone()
                          : Tensor::full(program.dtype(program.results[i]), program.shape, 7));
  std::vector<void*> out;
  for (Tensor& result : results) out.push_back(result.raw());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    shapes.push_back(inputs[i].shape());
    in.push_back(static_cast<std::int32_t>(i) < updates ? out[i] : inputs[i].raw());
  }
  const ProgramRunner runner(program, shapes, updates);
  Tensor scratch(uint8, {static_cast<std::int64_t>(runner.scratch_bytes()) + 1});
  runner.run(in, out, scratch.raw(), 0, program.shape.num_elements());
  return results;
}

bool same_values(const Tensor& a, const Tensor& b) {
  Tensor x = a.cast(float64), y = b.cast(float64);
  return std::ranges::equal(x.span<double>(), y.span<double>(), [](double p, double q) {
    return (p == q && std::signbit(p) == std::signbit(q)) || (std::isnan(p) && std::isnan(q));
  });
}

void check(const ElementwiseProgram& program, const std::vector<Tensor>& inputs,
           std::int32_t updates = 0) {
  const auto expected = compute_by_rows(program, inputs);
  const auto actual = run(program, inputs, updates);
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK_MESSAGE(same_values(actual[i], expected[i]), "result ", i, " of ",
                  program.instructions[0].op->name, ", ", program.shape.num_elements(),
                  " elements of ", name(program.input_dtypes[0]));
}

/// Around a block, which is 8 vectors of 16 to 64 bytes, and around a tile of 1024.
constexpr std::int64_t kCounts[] = {2, 15, 16, 31, 33, 64, 127, 128, 129, 1024, 1151, 1153, 2300};

}  // namespace

TEST_SUITE("chain") {
  TEST_CASE("every op that has a link gives the bits of its row") {
    int tried = 0;
    for (const DType dtype : {float32, float64})
      for (const OpDef* op : op_registry().all()) {
        const LinkTable::Codes& codes = best_links().codes[dtype == float32 ? 0 : 1];
        const OpLinks* links = find_links(codes, op->name);
        if (!links || !links->code[0][0]) continue;
        const int operands = !links->code[1][0] ? 1 : (!links->code[2][0] ? 2 : 3);
        ++tried;
        for (const std::int64_t count : kCounts) {
          // Inputs: two that move, and a fixed one.
          ElementwiseProgram program = make_program(dtype, count, 3);
          const auto step = [&](std::int32_t a, std::int32_t b) {
            if (operands == 3) return add(program, op->name, a, b, a == -1 || a == 0 ? 2 : 0);
            return operands == 1 ? add(program, op->name, a) : add(program, op->name, a, b);
          };
          std::int32_t x = step(0, 1);
          for (const auto& [a, b] : {std::pair{-1, 2}, {2, -1}, {-1, 1}, {0, -1}, {-1, -1}})
            x = step(a < 0 ? x : a, b < 0 ? x : b);
          program.results = {add(program, "sub", x, program.num_inputs()), x};
          check(program, {positive_noise(dtype, count, 1), positive_noise(dtype, count, 2),
                          positive_noise(dtype, 1, 3)});
        }
      }
    CHECK(tried >= 2 * 29);
  }

  TEST_CASE("parts of a matrix give the bits of the whole") {
    // A moving input, a row for all rows, a block, a fixed one; rows and columns beside blocks.
    constexpr std::int64_t kRows = 23, kColumns = 150;
    for (const DType dtype : {float32, float64}) {
      ElementwiseProgram program = make_program(dtype, kRows * kColumns, 4);
      program.shape = {kRows, kColumns};
      const std::int32_t sum = add(program, "add", 2, 1);
      const std::int32_t product = add(program, "mul", add(program, "relu", sum), 0);
      program.results = {add(program, "sub", product, 3)};
      const std::vector<Tensor> in = {
          positive_noise(dtype, kRows * kColumns, 1), positive_noise(dtype, kColumns, 2),
          positive_noise(dtype, kRows * kColumns, 3), positive_noise(dtype, 1, 4)};
      const std::vector<Shape> shapes = {program.shape, {1, kColumns}, program.shape, {}};
      const ProgramRunner runner(program, shapes, 0, 2);
      Tensor scratch(uint8, {static_cast<std::int64_t>(runner.scratch_bytes()) + 1});
      // The block's two operands are nobody's business here.
      const std::vector<const void*> inputs = {in[0].raw(), in[1].raw(), nullptr, nullptr,
                                               in[3].raw()};
      Tensor whole(dtype, program.shape), pieces = Tensor::full(dtype, program.shape, 7);
      std::vector<void*> out = {whole.raw()};
      runner.run(inputs, out, scratch.raw(), 0, kRows * kColumns, in[2].raw());
      out = {pieces.raw()};
      const auto size = static_cast<std::int64_t>(size_of(dtype));
      for (const auto& [row, rows] : {std::pair{0, 3}, {3, 12}, {15, 8}})
        for (const auto& [column, columns] : {std::pair{0, 64}, {64, 41}, {105, 45}})
          runner.run(inputs, out, scratch.raw(),
                     ProgramRunner::Patch{
                         row, column, rows, columns,
                         static_cast<const char*>(in[2].raw()) + (row * kColumns + column) * size,
                         kColumns});
      CHECK(same_values(pieces, whole));
    }
  }

  TEST_CASE("rows and columns that are broadcast are as if they were laid out") {
    for (const auto& size :
         {std::pair{64, 128}, {37, 512}, {50, 130}, {9, 1000}, {3, 2048}, {700, 3}, {90, 32}}) {
      const int rows = size.first, columns = size.second;  // lambdas cannot capture bindings
      CAPTURE(columns);
      for (const DType dtype : {float32, float64}) {
        const Tensor row = positive_noise(dtype, columns, 1),
                     column = positive_noise(dtype, rows, 2);
        Tensor all_rows(dtype, Shape{rows, columns}), all_columns(dtype, Shape{rows, columns});
        const auto bytes = static_cast<std::int64_t>(size_of(dtype));
        for (std::int64_t i = 0; i < rows * columns; ++i) {
          std::memcpy(static_cast<char*>(all_rows.raw()) + i * bytes,
                      static_cast<const char*>(row.raw()) + i % columns * bytes, size_of(dtype));
          std::memcpy(static_cast<char*>(all_columns.raw()) + i * bytes,
                      static_cast<const char*>(column.raw()) + i / columns * bytes,
                      size_of(dtype));
        }
        ElementwiseProgram program = make_program(dtype, rows * columns, 3);
        program.shape = {rows, columns};
        program.results = {add(program, "add", add(program, "mul", 0, 1), 2)};
        const Tensor x = positive_noise(dtype, rows * columns, 3);
        const Tensor whole =
            run(program, {x.reshaped({rows, columns}), all_rows, all_columns})[0];
        const Tensor broadcast =
            run(program, {x.reshaped({rows, columns}), row, column.reshaped({rows, 1})})[0];
        CHECK(same_values(broadcast, whole));
      }
    }
  }

  TEST_CASE("a fixed -0 stays what it is") {
    ElementwiseProgram program = make_program(float32, 300, 2);
    program.results = {add(program, "mul", 1, 0)};
    check(program, {positive_noise(float32, 300, 1), Tensor{-0.f}});
    program.instructions.clear();
    program.results = {add(program, "maximum", 1, 1), add(program, "mul", 2, 0)};
    check(program, {positive_noise(float32, 300, 1), Tensor{-0.f}});
  }

  TEST_CASE("updates in place read each variable before it changes") {
    for (const std::int64_t count : kCounts) {
      const std::vector<Tensor> inputs = {positive_noise(float32, count, 1),
                                          positive_noise(float32, count, 2),
                                          positive_noise(float32, count, 3)};
      // Two variables change places, and the first is read once more at the end.
      ElementwiseProgram program = make_program(float32, count, 3);
      const std::int32_t first = add(program, "add", 1, 2), second = add(program, "mul", 0, 2);
      program.results = {first, second};
      check(program, inputs, 2);
      add(program, "add", first, second);
      program.results = {first, second, add(program, "sub", 5, 0)};
      check(program, inputs, 3);
      program.results = {second, 2, first};  // one takes an input as it is
      check(program, inputs, 3);
      program.results = {second, first, second};  // two take the same
      check(program, inputs, 3);
    }
  }
}

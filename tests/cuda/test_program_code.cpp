#include <doctest/doctest.h>

#include <array>

#include "cuda_emulation/emulation.h"
#include "device/cuda/elementwise/alike_sets.h"
#include "device/cuda/elementwise/float_code.h"
#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"

/// How programs are written down for the GPU.
namespace gg = gradgraph;
using gg::ElementwiseProgram;
using gg::Shape;
using gg::Tensor;
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

  TEST_CASE("of short float32 arithmetic only what is read later takes a register") {
    // (x + s)^2 * (x + s), and x as it is.
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::float32, gg::float32};
    program.instructions = {instruction("add", {0, 1}), instruction("square", {2}),
                            instruction("mul", {3, 2})};
    program.results = {4, 0, 4};
    const std::array shapes = {Shape{8}, Shape{}};
    const auto code = gg::cuda::encode_floats(program, shapes);
    REQUIRE(code);
    CHECK(code->num_loads == 1);
    CHECK(code->num_uniforms == 1);
    REQUIRE(code->num_steps == 5);
    CHECK(code->steps[0].output == 1);
    CHECK(code->steps[1].operands[0] == gg::cuda::kLast);
    CHECK(code->steps[1].operands[1] == gg::cuda::kUniform);
    CHECK(code->steps[1].result == 0);  // x is not needed any more
    CHECK(code->steps[2].operands[0] == gg::cuda::kLast);
    CHECK(code->steps[2].result == gg::cuda::kNowhere);
    CHECK(code->steps[3].operands[1] == 0);
    CHECK(code->steps[3].output == 0);
    CHECK(code->steps[4].output == 2);
    CHECK(code->num_registers == 1);
  }

  TEST_CASE("bytes are cast while they are loaded") {
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::uint8, gg::float32};
    program.instructions = {instruction("cast", {0}), instruction("div", {2, 1})};
    program.results = {3, 2};
    const std::array shapes = {Shape{8}, Shape{}};
    const auto code = gg::cuda::encode_floats(program, shapes);
    REQUIRE(code);
    CHECK(code->inputs_stored[0] == gg::cuda::Stored::byte);
    CHECK(code->num_loads == 1);
    REQUIRE(code->num_steps == 2);
    CHECK(code->steps[0].output == 1);
    CHECK(code->steps[1].output == 0);
    program.results = {3, 0};
    CHECK_FALSE(gg::cuda::encode_floats(program, shapes));

    for (const gg::DType dtype : {gg::uint8, gg::boolean})
      for (const Shape& shape : {Shape{5}, Shape{3, 8}, Shape{70, 33}}) {
        gg::Graph graph;
        const gg::Output x = gg::placeholder(graph, dtype, shape);
        const gg::Output y = gg::placeholder(graph, dtype, {shape[shape.rank() - 1]});
        const gg::Output s = gg::placeholder(graph, dtype, {});
        const auto floats = [](const gg::Output& value) { return gg::cast(value, gg::float32); };
        const gg::Output result = floats(x) / 255.f - floats(y) * floats(s);
        std::vector<std::pair<gg::Output, gg::Tensor>> feeds;
        std::uint32_t seed = 1;
        for (const gg::Output& input : {x, y, s}) {
          gg::Tensor value = gg::tests::noise(input.shape(), seed++);
          for (double& element : value.span<double>()) element = element * 100 + 120;
          feeds.emplace_back(input, value.cast(dtype));
        }
        gg::Session host(graph, {.device = "cpu"});
        cuda_emulation::configure({.check = true});
        gg::Session session(graph, {.device = "cuda:0"});
        CHECK(
            gg::tests::same_bits(session.run(feeds, {result})[0], host.run(feeds, {result})[0]));
        CHECK(cuda_emulation::take_error() == "");
      }
    cuda_emulation::configure({});
  }

  TEST_CASE("16 bits are loaded, rounded after each step, and stored") {
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::float16, gg::float32};
    // cast(relu(x * x)) + y, and the product itself.
    program.instructions = {instruction("mul", {0, 0}, gg::float16),
                            instruction("relu", {2}, gg::float16), instruction("cast", {3}),
                            instruction("add", {4, 1})};
    program.results = {5, 2};
    const auto code = gg::cuda::encode_floats(program, std::array{Shape{8}, Shape{8}});
    REQUIRE(code);
    CHECK(code->has_halves);
    CHECK(code->inputs_stored[0] == gg::cuda::Stored::float16);
    CHECK(code->outputs_stored[0] == gg::cuda::Stored::float32);
    CHECK(code->outputs_stored[1] == gg::cuda::Stored::float16);
    REQUIRE(code->num_steps == 4);  // mul, round, relu, add
    CHECK(code->steps[0].output == gg::cuda::kNowhere);
    CHECK(code->steps[1].output == 1);
    CHECK(code->steps[3].output == 0);

    for (const gg::DType dtype : {gg::float16, gg::bfloat16})
      for (const Shape& shape : {Shape{5}, Shape{3, 8}, Shape{70, 33}}) {
        gg::Graph graph;
        const gg::Output x = gg::placeholder(graph, dtype, shape);
        const gg::Output y = gg::placeholder(graph, gg::float32, {shape[shape.rank() - 1]});
        const gg::Output s = gg::placeholder(graph, dtype, {});
        const gg::Output narrow = gg::cast(y, dtype), sum = x * x * s + narrow;
        const gg::Output other = gg::cast(sum, dtype == gg::float16 ? gg::bfloat16 : gg::float16);
        const std::vector<gg::Output> results = {sum, gg::cast(gg::relu(sum), gg::float32) / y,
                                                 other, gg::cast(x, gg::float32)};
        std::vector<std::pair<gg::Output, gg::Tensor>> feeds;
        std::uint32_t seed = 1;
        for (const gg::Output& input : {x, y, s})
          feeds.emplace_back(input, gg::tests::noise(input.shape(), seed++).cast(input.dtype()));
        gg::Session host(graph, {.device = "cpu"});
        cuda_emulation::configure({.check = true});
        gg::Session session(graph, {.device = "cuda:0"});
        const auto actual = session.run(feeds, results), expected = host.run(feeds, results);
        for (std::size_t i = 0; i < results.size(); ++i)
          CHECK(gg::tests::same_bits(actual[i], expected[i]));
        CHECK(cuda_emulation::take_error() == "");
      }
    cuda_emulation::configure({});
  }

  TEST_CASE("other arithmetic, and more than registers are for, is no short program") {
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::float32};
    program.instructions = {instruction("sin", {0})};
    program.results = {1};
    CHECK_FALSE(gg::cuda::encode_floats(program, std::array{Shape{8}}));
    program.instructions = {instruction("neg", {0}, gg::float64)};
    CHECK_FALSE(gg::cuda::encode_floats(program, std::array{Shape{8}}));
    // All values are read again at the end.
    program.input_dtypes = {gg::float32};
    program.instructions.clear();
    for (std::int32_t i = 0; i < gg::cuda::kMaxFloatRegisters; ++i)
      program.instructions.push_back(instruction("neg", {0}));
    for (std::int32_t i = 0; i < gg::cuda::kMaxFloatRegisters; ++i)
      program.instructions.push_back(instruction("add", {i, i + 1}));
    program.results = {program.num_registers() - 1};
    CHECK_FALSE(gg::cuda::encode_floats(program, std::array{Shape{8}}));
  }

  TEST_CASE("what interpreters have no code for, or no room, is generated") {
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::float32};
    program.instructions = {instruction("relu", {0})};
    program.results = {1};
    const auto encode = [&] {
      const auto code = gg::cuda::encode_floats(
          program, std::vector<Shape>(program.input_dtypes.size(), Shape{8}));
      REQUIRE(code);
      return *code;
    };
    CHECK(encode().is_interpreted);
    program.instructions = {instruction("leaky_relu", {0}),
                            instruction("less", {1, 0}, gg::boolean)};
    program.instructions[0].attributes.set("slope", 0.25);
    program.results = {1, 2};
    const auto code = encode();
    CHECK_FALSE(code.is_interpreted);
    CHECK(code.num_constants == 1);
    CHECK(code.constants[0] == 0.25f);
    CHECK(code.steps[0].operands[1] == gg::cuda::kConstantValue);
    CHECK(code.outputs_stored[1] == gg::cuda::Stored::byte);
    program.input_dtypes.assign(gg::cuda::kMaxInterpretedRegisters + 1, gg::float32);
    program.instructions = {instruction("neg", {0})};
    for (std::int32_t i = 0; i < program.num_inputs(); ++i)
      program.instructions.push_back(instruction("add", {i, program.num_inputs() + i}));
    program.results = {program.num_registers() - 1};
    CHECK_FALSE(encode().is_interpreted);
  }

  TEST_CASE("a condition that is given chooses in a short program") {
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes = {gg::boolean, gg::float32, gg::float32};
    program.instructions = {instruction("neg", {1}), instruction("where", {0, 3, 2})};
    program.results = {4};
    const std::vector<Shape> shapes = {{8}, {8}, {}};
    const auto code = gg::cuda::encode_floats(program, shapes);
    REQUIRE(code);
    CHECK(code->has_functions);
    for (const gg::DType dtype : {gg::float32, gg::float16}) {
      gg::Graph graph;
      const gg::Output seen = gg::placeholder(graph, gg::boolean, {7, 9});
      const gg::Output x = gg::placeholder(graph, dtype, {3, 7, 9});
      const gg::Output hidden = gg::constant(graph, gg::Tensor(-0.f).cast(dtype));
      const gg::Output y = gg::where(seen, x * x, hidden) - gg::where(seen, hidden, x);
      gg::Tensor mask(gg::boolean, {7, 9});
      for (std::int64_t i = 0; i < 63; ++i) mask.data<bool>()[i] = i % 3 != 0;
      const gg::Feeds feeds = {{seen, mask}, {x, gg::tests::noise(x.shape(), 1).cast(dtype)}};
      gg::Session host(graph, {.device = "cpu"}), session(graph, {.device = "cuda:0"});
      CHECK(gg::tests::same_bits(session.run(feeds, y), host.run(feeds, y)));
    }
  }

  TEST_CASE("sets of values that a program does the same with are found") {
    // Twice a = a + b * s, where the second b comes before its a.
    ElementwiseProgram program;
    program.shape = {8};
    program.input_dtypes.assign(5, gg::float32);
    program.instructions = {instruction("mul", {1, 2}), instruction("add", {0, 5}),
                            instruction("mul", {4, 2}), instruction("add", {3, 7})};
    program.results = {6, 8};
    const std::vector<Shape> shapes = {{8}, {8}, {}, {8}, {8}};
    const auto find = [&] { return gg::cuda::find_alike_sets(program, shapes); };
    const auto sets = find();
    REQUIRE(sets);
    CHECK(sets->inputs == std::vector<std::vector<int>>{{0, 1}, {3, 4}});
    CHECK(sets->outputs == std::vector<std::vector<int>>{{0}, {1}});
    CHECK(sets->shared == std::vector<int>{2});
    CHECK(sets->shapes == std::vector<Shape>{{8}, {8}, {}});
    REQUIRE(sets->program.instructions.size() == 2);
    CHECK(sets->program.instructions[0].operands[0] == 1);
    CHECK(sets->program.instructions[0].operands[1] == 2);
    CHECK(sets->program.instructions[1].operands[1] == 3);
    CHECK(sets->program.results == std::vector<std::int32_t>{4});
    // Another op, another operand, and one set that reads from the other.
    program.instructions[2].op = &gg::op_registry().at("sub");
    CHECK_FALSE(find());
    program.instructions[2] = instruction("mul", {4, 4});
    CHECK_FALSE(find());
    program.instructions[2] = instruction("mul", {4, 5});
    CHECK_FALSE(find());
  }

  TEST_CASE("variables of one shape are updated by few kernels, each as on the CPU") {
    for (const int count : {2, 5, 33}) {
      gg::Graph graph;
      gg::Output loss = gg::constant(graph, gg::Tensor(0.f));
      std::vector<gg::Output> variables;
      for (int i = 0; i < count; ++i) {
        variables.push_back(gg::variable(
            graph, gg::tests::noise({70}, static_cast<unsigned>(i + 1), gg::float32)));
        loss = loss + gg::sum(gg::square(variables.back()) * static_cast<float>(i + 1));
      }
      const gg::Output train = gg::Adam{.learning_rate = 0.1}.minimize(loss);
      gg::Session host(graph, {.device = "cpu", .threads = 1});
      cuda_emulation::configure({.check = true});
      gg::Session session(graph, {.device = "cuda:0", .node_times = true});
      for (int step = 0; step < 3; ++step) {
        host.run({}, train);
        session.run({}, train);
      }
      CHECK(cuda_emulation::take_error() == "");
      for (const gg::Output& variable : variables)
        CHECK(gg::tests::same_bits(session.value(variable), host.value(variable)));
      const auto& nodes = session.last_run().nodes;
      const auto updates = std::count_if(nodes.begin(), nodes.end(), [](const auto& node) {
        return node.planned->op().name == "fused_update";
      });
      CHECK(updates == (count + 13) / 14);  // so many have as many nodes as make one at most
    }
    cuda_emulation::configure({});
  }

  TEST_CASE("short float32 programs have the CPU's bits at every size and view") {
    using gg::tests::noise;
    const Shape shapes[] = {{1}, {3}, {4}, {5}, {6, 4}, {3, 5}, {2, 3, 8}, {513}, {70, 33}};
    for (const Shape& shape : shapes) {
      CAPTURE(shape);
      gg::Graph graph;
      const auto value = [&](const Shape& own) {
        return gg::placeholder(graph, gg::float32, own);
      };
      Shape row{shape[shape.rank() - 1]}, column = shape;
      column.set(shape.rank() - 1, 1);
      const gg::Output x = value(shape), y = value(row), z = value(column), s = value({});
      const gg::Output result =
          gg::relu(gg::maximum((x + y) / (z * z + s), gg::sqrt(gg::abs(x))) - y);
      std::vector<std::pair<gg::Output, gg::Tensor>> feeds;
      std::uint32_t seed = 1;
      for (const gg::Output& input : {x, y, z, s})
        feeds.emplace_back(input, noise(input.shape(), seed++).cast(gg::float32));
      gg::Session host(
          graph, {.device = "cpu", .disabled_passes = {"fuse_elementwise", "merge_elementwise"}});
      const gg::Tensor expected = host.run(feeds, {result})[0];
      cuda_emulation::configure({.check = true});
      gg::Session session(graph, {.device = "cuda:0"});
      CHECK(gg::tests::same_bits(session.run(feeds, {result})[0], expected));
      CHECK(cuda_emulation::take_error() == "");
    }
    cuda_emulation::configure({});
  }

  TEST_CASE("programs of one text are compiled once, and as long as one is there") {
    gg::Graph graph;
    const gg::Output x = gg::placeholder(graph, gg::float32, {37});
    const gg::Output y = gg::tanh(x * x) + x;
    const gg::Feeds feeds = {{x, gg::tests::noise({37}, 1, gg::float32)}};
    CHECK(cuda_emulation::libraries_loaded() == 0);
    const std::uint64_t before = cuda_emulation::libraries_compiled();
    {
      gg::Session one(graph, {.device = "cuda:0"}), other(graph, {.device = "cuda:1"});
      CHECK(gg::tests::same_bits(one.run(feeds, y), other.run(feeds, y)));
      CHECK(cuda_emulation::libraries_compiled() == before + 1);
    }
    CHECK(cuda_emulation::libraries_loaded() == 0);
  }

  TEST_CASE("a driver that compiles nothing leaves programs to interpreters") {
    gg::Graph graph;
    const gg::Output x = gg::placeholder(graph, gg::float32, {37});
    const gg::Output whole = gg::placeholder(graph, gg::float32, {9, 16});
    const std::vector<gg::Output> parts = gg::split(whole, {8, 8}, 1);
    const gg::Output product = gg::tanh(parts[0]) * parts[1];
    const gg::Output yes = gg::placeholder(graph, gg::boolean, {37});
    const gg::Output no = gg::placeholder(graph, gg::boolean, {37});
    const std::vector<gg::Output> results = {
        gg::tanh(x * x) + x, gg::softplus(x) - gg::sign(x),
        gg::square(gg::concat({product, product - parts[0]}, 1)), gg::where(yes, no, yes),
        gg::assign(gg::variable(graph, Tensor::zeros(gg::boolean, {37}), "flags"), yes)};
    const auto flags = [](std::int64_t period) {
      Tensor value(gg::boolean, {37});
      for (std::int64_t i = 0; i < 37; ++i) value.data<bool>()[i] = i % period != 0;
      return value;
    };
    const gg::Feeds feeds = {{x, gg::tests::noise({37}, 1, gg::float32)},
                             {whole, gg::tests::noise({9, 16}, 2, gg::float32)},
                             {yes, flags(2)},
                             {no, flags(3)}};
    gg::Session host(graph, {.device = "cpu"});
    const auto expected = host.run(feeds, results);
    for (const bool compiles : {true, false}) {
      cuda_emulation::set_machine({.compiles = compiles});
      gg::Session session(graph, {.device = "cuda:0"});
      const auto actual = session.run(feeds, results);
      CHECK((cuda_emulation::libraries_loaded() > 0) == compiles);
      for (std::size_t i = 0; i < results.size(); ++i)
        CHECK(gg::tests::same_bits(actual[i], expected[i]));
    }
    cuda_emulation::set_machine({});
  }
}

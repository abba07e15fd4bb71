#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "core/index.h"
#include "device/cuda/elementwise/alike_sets.h"
#include "device/cuda/elementwise/float_interpreter.h"
#include "device/cuda/elementwise/generated_kernel.h"
#include "device/cuda/elementwise/interpreter.h"
#include "device/cuda/kernels.h"
#include "device/shared/elements.h"
#include "device/shared/elementwise_ops.h"
#include "device/shared/half_kernels.h"
#include "ops/nn/window.h"

/// Elementwise ops on their own, fused ones, and updates of variables: all are programs.
namespace gradgraph::cuda {
namespace {

/// Shared memory that every device gives a block without being asked.
constexpr std::size_t kSharedBytes = std::size_t{48} << 10;

template <bool kHalves, bool kFunctions, class Code>
__global__ void __launch_bounds__(kFloatThreads)
    run_float_program(const __grid_constant__ Code code, Stopper stopper) {
  auto* const registers = dynamic_shared<Quad<float>>();
  auto* const uniforms = reinterpret_cast<float*>(registers + code.num_registers * kFloatThreads);
  if (bring_uniforms<kHalves>(code, uniforms, stopper)) return;
  const int step = 4 * static_cast<int>(num_threads());
  for (int first = 4 * static_cast<int>(thread_number()); first < code.count; first += step)
    run_steps<kHalves, kFunctions>(code, registers + threadIdx.x, kFloatThreads, uniforms,
                                   Line{first, std::min(4, code.count - first)});
}

template <bool kFunctions, class Code>
void issue_floats(const KernelArgs& args, const Code& code, int sets) {
  const auto kernel = code.has_halves ? run_float_program<true, kFunctions, Code>
                                      : run_float_program<false, kFunctions, Code>;
  issue(args, kernel,
        dim3(blocks_for(code.count, 4 * kFloatThreads), static_cast<unsigned>(sets)),
        kFloatThreads, shared_bytes(code), code, stream_of(args).stopper());
}
template <class Code>
void issue_floats(const KernelArgs& args, const Code& code, int sets) {
  return code.has_functions ? issue_floats<true>(args, code, sets)
                            : issue_floats<false>(args, code, sets);
}

/// Where a kernel's arguments find the memory of a node's inputs and outputs.
class Addresses {
 public:
  explicit Addresses(std::size_t inputs) : inputs_(inputs) {}

  void add_input(int input, std::int64_t offset = 0) {
    places_.push_back({static_cast<std::size_t>(input), offset});
  }
  void add_output(int output, std::int64_t offset = 0) {
    places_.push_back({inputs_ + static_cast<std::size_t>(output), offset});
  }
  std::size_t size() const { return places_.size(); }
  /// Whether offsets let all be multiples of 16.
  bool may_be_aligned() const {
    return std::ranges::all_of(places_,
                               [](const Place& place) { return place.offset % 16 == 0; });
  }
  const void* find(const KernelArgs& args, std::size_t i) const {
    const auto [place, offset] = places_[i];
    const void* const memory =
        place < inputs_ ? args.inputs[place] : args.outputs[place - inputs_];
    return static_cast<const std::byte*>(memory) + offset;
  }

 private:
  struct Place {
    std::size_t value;
    std::int64_t offset;  ///< in bytes
  };
  std::vector<Place> places_;
  std::size_t inputs_;
};

/// The generated kernel of a program, or another one where the driver does not compile it or
/// addresses are not aligned as it needs them.
class GeneratedFirst {
 public:
  GeneratedFirst(GeneratedKernel generated, const AddressTable& table, std::int32_t count,
                 Addresses addresses, Kernel otherwise)
      : generated_(std::move(generated)),
        grid_(blocks_for(count, generated_.lanes() * kGeneratedThreads),
              static_cast<unsigned>(table.sets)),
        num_addresses_(num_addresses(table)),
        count_(count),
        addresses_(std::move(addresses)),
        otherwise_(std::move(otherwise)) {}

  void operator()(const KernelArgs& args) const {
    const void* addresses[kMaxAddresses];
    const std::size_t size = addresses_.size();
    std::fill(addresses + size, addresses + num_addresses_, nullptr);
    for (std::size_t i = 0; i < size; ++i) addresses[i] = addresses_.find(args, i);
    const void* const kernel = generated_.kernel({addresses, size});
    if (!kernel) return otherwise_.run(args);
    Stopper stopper = stream_of(args).stopper();
    std::int32_t count = count_;
    void* arguments[] = {addresses, &stopper.earliest, &stopper.rank, &count};
    issue_compiled(args, kernel, grid_, kGeneratedThreads, arguments);
  }

 private:
  GeneratedKernel generated_;
  dim3 grid_;
  int num_addresses_;
  std::int32_t count_;
  Addresses addresses_;
  Kernel otherwise_;
};

class FloatKernel {
 public:
  /// The addresses are those of the program's inputs, then of its results.
  FloatKernel(const FloatCode& code, Addresses addresses, std::size_t inputs)
      : code_(code), addresses_(std::move(addresses)), inputs_(inputs) {}
  void operator()(const KernelArgs& args) const {
    const void* inputs[kMaxInputs];
    void* outputs[kMaxOutputs];
    for (std::size_t i = 0; i < inputs_; ++i) inputs[i] = addresses_.find(args, i);
    const std::size_t count = addresses_.size() - inputs_;
    for (std::size_t i = 0; i < count; ++i)
      outputs[i] = const_cast<void*>(addresses_.find(args, inputs_ + i));
    FloatCode code = code_;
    bind(code, {inputs, inputs_}, {outputs, count});
    issue_floats(args, code, 1);
  }

 private:
  FloatCode code_;
  Addresses addresses_;
  std::size_t inputs_;
};

/// All updates of variables of one shape, say: the steps are those of one set.
class FloatSetsKernel {
 public:
  FloatSetsKernel(const AlikeSets& sets, const FloatCode& code)
      : shared_(sets.shared), sets_(static_cast<int>(sets.inputs.size())) {
    static_cast<FloatCode&>(code_) = code;
    code_.inputs_of_set = static_cast<std::int32_t>(sets.inputs[0].size());
    code_.outputs_of_set = static_cast<std::int32_t>(sets.outputs[0].size());
    for (const auto& own : sets.inputs) inputs_.insert(inputs_.end(), own.begin(), own.end());
    for (const auto& own : sets.outputs) outputs_.insert(outputs_.end(), own.begin(), own.end());
  }

  static bool fits(const AlikeSets& sets) {
    return sets.inputs.size() * sets.inputs[0].size() <= FloatSetsCode::kMaxSetInputs &&
           sets.outputs.size() * sets.outputs[0].size() <= FloatSetsCode::kMaxSetOutputs;
  }

  void operator()(const KernelArgs& args) const {
    FloatSetsCode code = code_;
    code.is_aligned = 1;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      code.set_inputs[i] = args.inputs[static_cast<std::size_t>(inputs_[i])];
      code.is_aligned &= is_aligned(code.set_inputs[i]);
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      code.set_outputs[i] = args.outputs[static_cast<std::size_t>(outputs_[i])];
      code.is_aligned &= is_aligned(code.set_outputs[i]);
    }
    for (std::size_t i = 0; i < shared_.size(); ++i)
      code.inputs[static_cast<std::size_t>(code.inputs_of_set) + i] =
          args.inputs[static_cast<std::size_t>(shared_[i])];
    issue_floats(args, code, sets_);
  }

 private:
  FloatSetsCode code_;
  std::vector<int> inputs_, outputs_, shared_;
  int sets_;
};

/// So few that a thread has one.
constexpr std::int64_t kFewElements = 16384;

class ProgramKernel {
 public:
  ProgramKernel(const ProgramCode& code, const char* message) : code_(code), message_(message) {}

  template <class Word>
  static std::size_t shared_bytes(const ProgramCode& code, int elements) {
    return static_cast<std::size_t>(code.num_registers * elements * kProgramThreads) *
           sizeof(Word);
  }
  static bool fits(const ProgramCode& code) {
    return (code.is_narrow ? shared_bytes<std::uint32_t>(code, 1)
                           : shared_bytes<std::uint64_t>(code, 1)) <= kSharedBytes;
  }

  void operator()(const KernelArgs& args) const {
    if (code_.count == 0) return;
    ProgramCode code = code_;
    std::copy(args.inputs.begin(), args.inputs.end(), code.inputs);
    std::copy(args.outputs.begin(), args.outputs.end(), code.outputs);
    if (code.is_narrow)
      run<std::uint32_t>(args, code);
    else
      run<std::uint64_t>(args, code);
  }

 private:
  template <class Word>
  void run(const KernelArgs& args, const ProgramCode& code) const {
    if (shared_bytes<Word>(code, 4) <= kSharedBytes && code.count > kFewElements)
      run<Word, 4>(args, code);
    else
      run<Word, 1>(args, code);
  }
  template <class Word, int kElements>
  void run(const KernelArgs& args, const ProgramCode& code) const {
    const CudaStream& stream = stream_of(args);
    issue(args, run_program<Word, kElements>, blocks_for(code.count, kElements * kProgramThreads),
          kProgramThreads, shared_bytes<Word>(code, kElements), code, stream.stopper(), message_,
          stream.refusal_slot());
  }

  ProgramCode code_;
  const char* message_;
};

std::int64_t bytes_of(DType dtype) { return static_cast<std::int64_t>(size_of(dtype)); }

/// What a kernel is for.
struct Purpose {
  int updates = 0;           ///< results that are variables' new values
  const char* message = "";  ///< what is wrong with operands that are refused
  bool is_run = false;       ///< by a session; else it may only be asked for, and is interpreted
};

/// Where no kernel can be generated: what there is otherwise.
Kernel make_generated(const FloatCode& code, const AddressTable& table, Addresses addresses,
                      const Purpose& purpose, Kernel otherwise) {
  if (!purpose.is_run || !otherwise) return otherwise;
  auto generated =
      GeneratedKernel::make(code, table, purpose.updates > 0, addresses.may_be_aligned());
  if (!generated) return otherwise;
  return {GeneratedFirst(std::move(*generated), table, code.count, std::move(addresses),
                         std::move(otherwise))};
}

/// All sets of values by one kernel; nothing where there are no sets, or no kernel for them.
Kernel make_for_sets(const ElementwiseProgram& program, std::span<const Shape> shapes,
                     const Purpose& purpose) {
  const auto sets = find_alike_sets(program, shapes);
  if (!sets || !FloatSetsKernel::fits(*sets)) return {};
  const auto code = encode_floats(sets->program, sets->shapes);
  if (!code || !code->is_interpreted) return {};
  const auto size = [](const auto& list) { return static_cast<int>(list.size()); };
  Addresses addresses(shapes.size());
  for (const int input : sets->shared) addresses.add_input(input);
  for (std::size_t set = 0; set < sets->inputs.size(); ++set) {
    for (const int input : sets->inputs[set]) addresses.add_input(input);
    for (const int output : sets->outputs[set]) addresses.add_output(output);
  }
  return make_generated(*code,
                        {.shared = size(sets->shared),
                         .inputs_of_set = size(sets->inputs[0]),
                         .outputs_of_set = size(sets->outputs[0]),
                         .sets = size(sets->inputs)},
                        std::move(addresses), purpose, {FloatSetsKernel(*sets, *code)});
}

Kernel make_for_all(const ElementwiseProgram& program, std::span<const Shape> shapes,
                    const Purpose& purpose) {
  const std::optional<ProgramCode> code = encode(program, shapes, purpose.updates);
  if (!code || !ProgramKernel::fits(*code)) return {};
  return {ProgramKernel(*code, purpose.message)};
}

Kernel make(const ElementwiseProgram& program, std::span<const Shape> shapes,
            const Purpose& purpose) {
  // Where nothing is updated, what one set gives may lie where another one reads.
  if (purpose.updates > 0)
    if (Kernel kernel = make_for_sets(program, shapes, purpose)) return kernel;
  const auto floats = encode_floats(program, shapes);
  if (!floats) return make_for_all(program, shapes, purpose);
  Addresses addresses(shapes.size());
  for (int i = 0; i < program.num_inputs(); ++i) addresses.add_input(i);
  const auto outputs = static_cast<int>(program.results.size());
  for (int i = 0; i < outputs; ++i) addresses.add_output(i);
  return make_generated(
      *floats, {.inputs_of_set = program.num_inputs(), .outputs_of_set = outputs}, addresses,
      purpose,
      floats->is_interpreted ? Kernel{FloatKernel(*floats, addresses, shapes.size())}
                             : make_for_all(program, shapes, purpose));
}

/// Of parts of values: by short programs alone.
Kernel make_fused_parts(const KernelSite& site) {
  const ElementwiseProgram& program = program_of(site.node());
  std::vector<Shape> shapes;
  for (const auto& place : program.reads) shapes.push_back(site.input_shape(place.value));
  const auto code = encode_floats(program, shapes);
  if (!code || !code->is_interpreted) return {};
  Addresses addresses(at(site.num_inputs()));
  for (std::int32_t i = 0; i < program.num_inputs(); ++i) {
    const auto& place = program.reads[at(i)];
    addresses.add_input(place.value, place.offset * bytes_of(program.dtype(i)));
  }
  for (std::size_t i = 0; i < program.writes.size(); ++i) {
    const auto& place = program.writes[i];
    addresses.add_output(place.value, place.offset * bytes_of(program.dtype(program.results[i])));
  }
  return make_generated(*code,
                        {.inputs_of_set = program.num_inputs(),
                         .outputs_of_set = static_cast<int>(program.writes.size())},
                        addresses, {.is_run = site.device() != nullptr},
                        {FloatKernel(*code, addresses, at(program.num_inputs()))});
}

Kernel make(const KernelSite& site, const ElementwiseProgram& program, int updates,
            const char* message = "") {
  std::vector<Shape> shapes;
  for (int i = 0; i < site.num_inputs(); ++i) shapes.push_back(site.input_shape(i));
  return make(program, shapes, {updates, message, site.device() != nullptr});
}

Kernel make_fused(const KernelSite& site) {
  const Node& node = site.node();
  return make(site, program_of(node), node.op().traits.updates_variable ? node.num_outputs() : 0);
}

/// A variable's new value: its second input, or what `op` makes of both.
Kernel make_update(const KernelSite& site, const OpDef* op) {
  ElementwiseProgram program;
  program.shape = site.output_shape();
  program.input_dtypes = {site.output_dtype(), site.output_dtype()};
  program.results = {1};
  if (op) {
    program.instructions.push_back(
        {.op = op, .num_operands = 2, .operands = {0, 1}, .dtype = site.output_dtype()});
    program.results = {2};
  }
  return make(site, program, 1);
}

/// The bias meets the channels' axis.
Kernel make_bias_add(const KernelSite& site) {
  const Shape& shape = site.output_shape();
  Shape bias = site.input_shape(1);
  if (layout_attribute(site.node().attributes()) == Layout::nchw)
    for (int axis = 2; axis < shape.rank(); ++axis) bias.append(1);
  ElementwiseProgram program;
  program.shape = shape;
  program.input_dtypes = {site.output_dtype(), site.output_dtype()};
  program.instructions.push_back({.op = &op_registry().at("add"),
                                  .num_operands = 2,
                                  .operands = {0, 1},
                                  .dtype = site.output_dtype()});
  program.results = {2};
  return make(program, std::array{shape, bias}, {.is_run = site.device() != nullptr});
}

Conversion make_conversion(DType from, DType to, std::int64_t count, int) {
  ElementwiseProgram program;
  program.shape = {count};
  program.input_dtypes = {from};
  program.instructions.push_back(
      {.op = &op_registry().at("cast"), .num_operands = 1, .dtype = to});
  program.results = {1};
  return [kernel = make(program, std::array{program.shape}, {.is_run = true})](
             const KernelArgs& args, const void* operand, void* result) {
    KernelArgs own = args;
    own.inputs = {&operand, 1};
    own.outputs = {&result, 1};
    kernel.run(own);
  };
}

}  // namespace

void register_elementwise_kernels(KernelRegistry& registry) {
  add_elementwise_kernels(registry, kCuda, [](const KernelSite& site, const char* refusal) {
    return make(site, make_program(site.node()), 0, refusal);
  });
  registry.prefer(kCuda, {.can_fuse = has_code, .nhwc = true, .heads_inside = true});
  registry.add("cast", kCuda, kAllDTypes,
               [](const KernelSite& site) { return make(site, make_program(site.node()), 0); });
  for (const std::string_view op : {"fused", "fused_update"})
    registry.add_faster(op, kCuda, kAllDTypes, make_fused);
  registry.add_faster("fused_parts", kCuda, {float32, float16, bfloat16}, make_fused_parts);
  registry.add("bias_add", kCuda, {float32, float64, int32, int64}, make_bias_add);
  const auto add_update = [&](std::string_view name, std::string_view op,
                              std::initializer_list<DType> dtypes) {
    registry.add(name, kCuda, dtypes, [op](const KernelSite& site) {
      return make_update(site, op.empty() ? nullptr : &op_registry().at(std::string(op)));
    });
  };
  add_update("assign", "", kAllDTypes);
  add_update("assign_add", "add", kNumberDTypes);
  add_update("assign_sub", "sub", kNumberDTypes);
}

void register_half_kernels(KernelRegistry& registry) {
  add_half_kernels(registry, kCuda, make_conversion);
}

}  // namespace gradgraph::cuda

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "device/cpu/broadcast.h"
#include "device/cpu/kernels.h"
#include "device/cpu/parallel.h"
#include "device/cpu/rows.h"
#include "graph/program.h"

/// Runs an ElementwiseProgram tile by tile: every instruction passes over a tile that stays in
/// the first-level cache, by the rows that the ops' own kernels use: fusing changes no bit.
namespace gradgraph {
namespace {

using std::int64_t;

constexpr int64_t kTile = 1024;
constexpr std::size_t kSlotBytes = kTile * sizeof(double);

/// Where a register's elements are while a tile is computed.
struct Register {
  enum Kind : std::uint8_t { moving_input, fixed_input, expanded_input, slot, output } kind;
  std::int32_t index = 0;  ///< of the input, the slot or the output
  int64_t size = 0;        ///< bytes of an element
};

struct Step {
  Row row;
  std::int32_t num_operands;
  std::array<std::int32_t, 3> operands;  ///< registers
  std::int32_t result;                   ///< register
};

class FusedKernel {
 public:
  explicit FusedKernel(const KernelSite& site)
      : count_(site.output_shape().num_elements()),
        parts_(std::clamp<int64_t>(count_ / kParallelGrain, 1, site.threads())) {
    const ElementwiseProgram& program = program_of(site.node());
    for (std::int32_t i = 0; i < program.num_inputs(); ++i) add_input(program, site, i);
    for (const auto& instruction : program.instructions) add_step(program, instruction);
    for (std::size_t i = 0; i < program.results.size(); ++i)
      outputs_.push_back({program.results[i], element_size(program.dtype(program.results[i]))});
    assign_slots(program);
  }

  std::size_t workspace_bytes() const {
    return static_cast<std::size_t>(parts_) * static_cast<std::size_t>(slots_) * kSlotBytes;
  }

  void operator()(const KernelArgs& args) const {
    parallel_parts(count_, parts_, [&](int64_t part, int64_t begin, int64_t end) {
      char* slots =
          static_cast<char*>(args.workspace) + part * slots_ * static_cast<int64_t>(kSlotBytes);
      for (int64_t position = begin; position < end; position += kTile)
        run_tile(args, slots, position, std::min(kTile, end - position));
    });
  }

 private:
  struct Expanded {
    std::int32_t input;
    Broadcast<1> walk;
    int64_t size;
    std::int32_t reg;
  };
  struct Result {
    std::int32_t reg;
    int64_t size;
  };

  static int64_t element_size(DType dtype) { return static_cast<int64_t>(size_of(dtype)); }

  void add_input(const ElementwiseProgram& program, const KernelSite& site, std::int32_t i) {
    const Shape& shape = site.input_shape(i);
    const int64_t size = element_size(program.dtype(i));
    Register reg{Register::moving_input, i, size};
    if (shape.num_elements() == 1 && count_ != 1) {
      reg.kind = Register::fixed_input;
    } else if (shape.num_elements() != count_) {
      reg.kind = Register::expanded_input;
      expanded_.push_back({i, Broadcast<1>(program.shape, {shape}), size, i});
    }
    registers_.push_back(reg);
  }

  void add_step(const ElementwiseProgram& program,
                const ElementwiseProgram::Instruction& instruction) {
    const auto result = static_cast<std::int32_t>(registers_.size());
    const DType operand = program.dtype(
        instruction.operands[static_cast<std::size_t>(instruction.num_operands - 1)]);
    const Row row = find_row(instruction.op->name, operand, instruction.dtype);
    if (!row) throw KernelError("no row for " + instruction.op->name);
    steps_.push_back({row, instruction.num_operands, instruction.operands, result});
    registers_.push_back({Register::slot, 0, element_size(instruction.dtype)});
  }

  /// Registers share slots once nobody reads them any more. The last step writes the output it
  /// computes directly: whatever buffer that output took over has been read by then.
  void assign_slots(const ElementwiseProgram& program) {
    const auto count = static_cast<std::int32_t>(registers_.size());
    std::vector<std::int32_t> last_use(registers_.size(), -1);
    for (const Step& step : steps_)
      for (std::int32_t i = 0; i < step.num_operands; ++i)
        last_use[at(step.operands[at(i)])] = step.result;
    for (const Result& result : outputs_) last_use[at(result.reg)] = count;

    std::vector<std::int32_t> free;
    const auto take = [&] {
      if (free.empty()) return slots_++;
      const std::int32_t slot = free.back();
      free.pop_back();
      return slot;
    };
    for (const Expanded& expanded : expanded_) registers_[at(expanded.reg)].index = take();
    for (const Step& step : steps_) {
      Register& result = registers_[at(step.result)];
      if (step.result == count - 1 && is_result(program, step.result)) {
        result.kind = Register::output;
        for (std::size_t i = 0; i < outputs_.size(); ++i)
          if (outputs_[i].reg == step.result) result.index = static_cast<std::int32_t>(i);
      } else {
        result.index = take();
      }
      for (std::int32_t i = 0; i < step.num_operands; ++i) {
        const std::int32_t operand = step.operands[at(i)];
        if (registers_[at(operand)].kind != Register::slot ||
            last_use[at(operand)] != step.result)
          continue;
        free.push_back(registers_[at(operand)].index);
        last_use[at(operand)] = -1;  // one operand may stand twice
      }
    }
  }

  static bool is_result(const ElementwiseProgram& program, std::int32_t reg) {
    return std::ranges::count(program.results, reg) == 1;
  }
  static std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

  void run_tile(const KernelArgs& args, char* slots, int64_t position, int64_t length) const {
    for (const Expanded& input : expanded_)
      expand(input, args.input<char>(at(input.input)),
             slots + registers_[at(input.reg)].index * static_cast<int64_t>(kSlotBytes), position,
             length);
    for (const Step& step : steps_) {
      std::array<const void*, 3> operands{};
      unsigned moves = 0;
      for (std::size_t i = 0; i < at(step.num_operands); ++i) {
        const Register& reg = registers_[at(step.operands[i])];
        operands[i] = address(reg, args, slots, position);
        if (reg.kind != Register::fixed_input) moves |= 1u << i;
      }
      const Register& result = registers_[at(step.result)];
      step.row(operands.data(), moves, address(result, args, slots, position), length);
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      const Register& reg = registers_[at(outputs_[i].reg)];
      if (reg.kind == Register::output) continue;
      std::memcpy(static_cast<char*>(args.outputs[i]) + position * outputs_[i].size,
                  address(reg, args, slots, position),
                  static_cast<std::size_t>(length * outputs_[i].size));
    }
  }

  static char* address(const Register& reg, const KernelArgs& args, char* slots,
                       int64_t position) {
    switch (reg.kind) {
      case Register::moving_input:
        return const_cast<char*>(args.input<char>(at(reg.index))) + position * reg.size;
      case Register::fixed_input: return const_cast<char*>(args.input<char>(at(reg.index)));
      case Register::output:
        return static_cast<char*>(args.outputs[at(reg.index)]) + position * reg.size;
      case Register::expanded_input:
      case Register::slot: return slots + reg.index * static_cast<int64_t>(kSlotBytes);
    }
    __builtin_unreachable();
  }

  static void expand(const Expanded& input, const char* from, char* to, int64_t position,
                     int64_t length) {
    const bool moves = input.walk.inner_steps()[0] == 1;
    input.walk.for_rows(
        position, position + length, [&](int64_t begin, const auto& offset, int64_t row) {
          const char* source = from + offset[0] * input.size;
          char* target = to + (begin - position) * input.size;
          if (moves)
            std::memcpy(target, source, static_cast<std::size_t>(row * input.size));
          else
            for (int64_t i = 0; i < row; ++i)
              std::memcpy(target + i * input.size, source, static_cast<std::size_t>(input.size));
        });
  }

  int64_t count_, parts_;
  std::vector<Register> registers_;
  std::vector<Step> steps_;
  std::vector<Expanded> expanded_;
  std::vector<Result> outputs_;
  std::int32_t slots_ = 0;
};

Kernel make_fused(const KernelSite& site) {
  FusedKernel kernel(site);
  const std::size_t workspace = kernel.workspace_bytes();
  return {std::move(kernel), workspace};
}

}  // namespace

void register_fused_kernels(KernelRegistry& registry) {
  for (const std::string_view op : {"fused", "fused_update"})
    registry.add(op, kCpu, {float32, float64, int32, int64, uint8, boolean}, make_fused);
}

}  // namespace gradgraph

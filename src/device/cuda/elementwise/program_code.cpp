#include "device/cuda/elementwise/program_code.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "device/shared/elements.h"
#include "device/shared/elementwise_ops.h"
#include "device/shared/half_programs.h"

namespace gradgraph::cuda {
namespace {

using Instruction = ElementwiseProgram::Instruction;
std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

template <class A>
bool is(std::string_view op, DType operand) {
  if (A::F::op != op) return false;
  if constexpr (std::is_void_v<typename A::T>)
    return true;
  else
    return dtype_of<typename A::T> == operand;
}
template <class... A>
int find_arithmetic(codes::Table<A...>, std::string_view op, DType operand) {
  int code = -1;
  const bool found = ((++code, is<A>(op, operand)) || ...);
  return found ? code : -1;
}

/// How to calculate an op of operands, the last of which is `operand`; -1 where there is no way.
int find_code(std::string_view op, DType operand, DType result) {
  if (op == "cast") return kConvert + 8 * static_cast<int>(operand) + static_cast<int>(result);
  return find_arithmetic(codes::All{}, op, operand);
}

/// Writes the steps. A register of the program has one of the code's from when its value is made
/// to when nobody needs it any more.
class Encoder {
 public:
  Encoder(const ElementwiseProgram& program, std::span<const Shape> shapes, int updates)
      : program_(program), updates_(updates) {
    fits_ = program.input_dtypes.size() <= kMaxInputs && program.results.size() <= kMaxOutputs;
    if (!fits_) return;
    code_.count = program.shape.num_elements();
    read_inputs(shapes);
    count_uses();
    for (const Instruction& instruction : program.instructions) add(instruction);
    for (const std::int32_t result : program.results)
      if (result < program.num_inputs()) load(result);
    store_what_can_be();
    code_.num_steps = static_cast<std::int16_t>(std::min<std::size_t>(steps_.size(), kMaxSteps));
    std::copy_n(steps_.begin(), code_.num_steps, code_.steps);
    fits_ = fits_ && steps_.size() <= kMaxSteps;
  }

  std::optional<ProgramCode> take() const { return fits_ ? std::optional(code_) : std::nullopt; }

 private:
  static constexpr int kNowhere = -1;

  void read_inputs(std::span<const Shape> shapes) {
    std::vector<const Shape*> views;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const std::int64_t count = shapes[i].num_elements();
      if (count == code_.count) {
        code_.reading[i] = kOwnIndex;
      } else if (count == 1) {
        code_.reading[i] = kAtZero;
      } else {
        code_.reading[i] = static_cast<std::int8_t>(views.size());
        views.push_back(&shapes[i]);
      }
    }
    fits_ = views.size() <= kMaxViews;
    if (!fits_ || views.empty()) return;
    std::vector<std::int64_t> next(views.size(), 1);
    const int rank = program_.shape.rank();
    for (int axis = rank - 1; axis >= 0; --axis) {
      const std::int64_t extent = program_.shape[axis];
      std::int64_t strides[kMaxViews];
      for (std::size_t v = 0; v < views.size(); ++v) {
        const int own = axis - (rank - views[v]->rank());
        const std::int64_t size = own < 0 ? 1 : (*views[v])[own];
        strides[v] = size == 1 ? 0 : next[v];
        next[v] *= size;
      }
      if (extent > 1) add_axis(extent, {strides, views.size()});
    }
  }
  /// As a part of the axis inside it, where all views go on there.
  void add_axis(std::int64_t extent, std::span<const std::int64_t> strides) {
    const int last = code_.num_axes - 1;
    bool continues = last >= 0;
    for (std::size_t v = 0; continues && v < strides.size(); ++v)
      continues = strides[v] == code_.strides[v][last] * code_.extents[last];
    if (continues) {
      code_.extents[last] *= extent;
      return;
    }
    const int axis = code_.num_axes++;
    code_.extents[axis] = extent;
    for (std::size_t v = 0; v < strides.size(); ++v) code_.strides[v][axis] = strides[v];
  }

  void count_uses() {
    const std::size_t count = at(program_.num_registers());
    uses_.assign(count, 0);
    place_.assign(count, kNowhere);
    stored_.assign(program_.results.size(), false);
    for (const Instruction& instruction : program_.instructions)
      for (std::int32_t i = 0; i < instruction.num_operands; ++i)
        ++uses_[at(instruction.operands[at(i)])];
    for (const std::int32_t result : program_.results) ++uses_[at(result)];
    for (std::int32_t reg = 0; reg < program_.num_registers(); ++reg)
      if (size_of(program_.dtype(reg)) > 4) code_.is_narrow = false;
  }

  int allocate() {
    if (free_.empty()) return code_.num_registers++;
    const int place = free_.back();
    free_.pop_back();
    return place;
  }
  void release(std::int32_t reg) {
    if (--uses_[at(reg)] > 0) return;
    free_.push_back(place_[at(reg)]);
  }

  void load(std::int32_t input) {
    if (place_[at(input)] != kNowhere) return;
    place_[at(input)] = allocate();
    steps_.push_back(
        {.code = static_cast<std::uint16_t>(kLoad + static_cast<int>(program_.dtype(input))),
         .index = static_cast<std::uint8_t>(input),
         .result = static_cast<std::uint8_t>(place_[at(input)])});
  }

  void add(const Instruction& instruction) {
    const DType operand_dtype =
        program_.dtype(instruction.operands[at(instruction.num_operands - 1)]);
    const int code = find_code(instruction.op->name, operand_dtype, instruction.dtype);
    if (code < 0) {
      fits_ = false;
      return;
    }
    Step step{.code = static_cast<std::uint16_t>(code)};
    std::size_t operand = 0;
    for (; operand < at(instruction.num_operands); ++operand) {
      const std::int32_t reg = instruction.operands[operand];
      if (reg < program_.num_inputs()) load(reg);
      step.operands[operand] = static_cast<std::uint8_t>(place_[at(reg)]);
    }
    std::vector<int> constants;
    for (const std::string_view name : parameters_of(instruction.op->name)) {
      constants.push_back(
          constant(element_bits(instruction.dtype, instruction.attributes.get<double>(name))));
      step.operands[operand++] = static_cast<std::uint8_t>(constants.back());
    }
    for (std::int32_t i = 0; i < instruction.num_operands; ++i)
      release(instruction.operands[at(i)]);
    free_.insert(free_.end(), constants.begin(), constants.end());
    const int place = allocate();
    place_[at(program_.num_inputs() + made_++)] = place;
    step.result = static_cast<std::uint8_t>(place);
    steps_.push_back(step);
    store_what_can_be();
  }

  int constant(std::uint64_t bits) {
    fits_ = fits_ && num_constants_ < kMaxConstants;
    if (!fits_) return 0;
    code_.constants[num_constants_] = bits;
    const int place = allocate();
    steps_.push_back({.code = kConstant,
                      .index = static_cast<std::uint8_t>(num_constants_++),
                      .result = static_cast<std::uint8_t>(place)});
    return place;
  }

  /// Results go to memory when they are there, unless that is memory of an input which is still
  /// to be read.
  void store_what_can_be() {
    for (std::size_t output = 0; output < program_.results.size(); ++output) {
      const std::int32_t reg = program_.results[output];
      if (stored_[output] || place_[at(reg)] == kNowhere || !is_free_to_write(output)) continue;
      stored_[output] = true;
      steps_.push_back(
          {.code = static_cast<std::uint16_t>(kStore + static_cast<int>(program_.dtype(reg))),
           .index = static_cast<std::uint8_t>(output),
           .operands = {static_cast<std::uint8_t>(place_[at(reg)])}});
      release(reg);
    }
  }
  bool is_free_to_write(std::size_t output) const {
    const auto is_read = [&](std::size_t input) {
      return place_[input] != kNowhere || uses_[input] == 0;
    };
    if (updates_ > 0) return is_read(output);
    for (std::size_t input = 0; input < program_.input_dtypes.size(); ++input)
      if (code_.reading[input] == kOwnIndex && !is_read(input)) return false;
    return true;
  }

  const ElementwiseProgram& program_;
  int updates_;
  bool fits_ = true;
  ProgramCode code_;
  std::vector<Step> steps_;
  std::vector<int> uses_;   ///< of each register of the program: readers to come
  std::vector<int> place_;  ///< of each register of the program: the code's register
  std::vector<bool> stored_;
  std::vector<int> free_;
  std::int32_t made_ = 0;
  int num_constants_ = 0;
};

}  // namespace

std::optional<ProgramCode> encode(const ElementwiseProgram& program,
                                  std::span<const Shape> shapes, int updates) {
  const ElementwiseProgram wide = in_float32(program);
  return Encoder(wide, shapes, updates).take();
}

bool has_code(const Node& node) {
  if (node.num_inputs() == 0 || node.num_inputs() > 3) return false;
  const DType operand = node.input(node.num_inputs() - 1).dtype();
  return find_code(node.op().name, calculated_in(operand), calculated_in(node.dtype())) >= 0 &&
         has_known_attributes(node);
}

}  // namespace gradgraph::cuda

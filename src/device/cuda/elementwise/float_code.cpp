#include "device/cuda/elementwise/float_code.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <vector>

#include "core/index.h"
#include "device/shared/elementwise_ops.h"

namespace gradgraph::cuda {
namespace {

using Instruction = ElementwiseProgram::Instruction;

template <class... F>
int find_code(functors::List<F...>, std::string_view op) {
  int code = -1;
  const bool found = ((++code, F::op == op) || ...);
  return found ? code : -1;
}
bool is_byte(DType dtype) { return dtype == uint8 || dtype == boolean; }
bool is_float(DType dtype) { return dtype == float32 || is_half(dtype); }
Stored stored(DType dtype) {
  if (is_byte(dtype)) return Stored::byte;
  return dtype == float16    ? Stored::float16
         : dtype == bfloat16 ? Stored::bfloat16
                             : Stored::float32;
}

/// Whether the op gives no other number than its operands.
bool is_exact(int code) {
  static const std::array exact = {
      find_code(codes::Short{}, "relu"),        find_code(codes::Short{}, "relu_grad"),
      find_code(codes::Short{}, "neg"),         find_code(codes::Short{}, "abs"),
      find_code(codes::Short{}, "maximum"),     find_code(codes::Short{}, "minimum"),
      find_code(codes::Functions{}, Choose::op)};
  return std::ranges::find(exact, code) != exact.end();
}

class FloatEncoder {
 public:
  FloatEncoder(const ElementwiseProgram& program, std::span<const Shape> shapes)
      : program_(program) {
    fits_ = has_floats_alone() && read_inputs(shapes) && write_steps() && allocate();
  }
  std::optional<FloatCode> take() const { return fits_ ? std::optional(code_) : std::nullopt; }

 private:
  /// Steps with the program's registers for operands.
  struct Draft {
    int code;
    std::int32_t result;
    std::vector<std::int32_t> operands;  ///< below 0: the complement of a constant's number
    int output;
  };

  bool has_floats_alone() const {
    const std::int64_t count = program_.shape.num_elements();
    return count > 0 && count < std::numeric_limits<std::int32_t>::max() / 2 &&
           program_.results.size() <= kMaxOutputs &&
           std::ranges::all_of(program_.input_dtypes,
                               [](DType d) { return is_float(d) || is_byte(d); }) &&
           std::ranges::all_of(program_.results,
                               [&](std::int32_t reg) { return has_form(program_.dtype(reg)); }) &&
           std::ranges::all_of(program_.instructions, [&](const Instruction& instruction) {
             return has_form(instruction.dtype) &&
                    (is_cast(instruction) ? keeps_value(instruction) : code_of(instruction) >= 0);
           });
  }
  /// What steps make: a condition is 0 or 1.
  static bool has_form(DType dtype) { return is_float(dtype) || dtype == boolean; }
  bool keeps_value(const Instruction& cast) const {
    return cast.dtype != boolean || program_.dtype(cast.operands[0]) == boolean;
  }
  static int code_of(const Instruction& instruction) {
    return find_code(codes::Generated{}, instruction.op->name);
  }
  /// Bytes are cast while they are loaded: then an input is what its cast gives, unless rounded.
  static bool is_cast(const Instruction& instruction) { return instruction.op->name == "cast"; }
  bool rounds(const Instruction& instruction) const {
    const DType from = program_.dtype(instruction.operands[0]);
    return is_half(instruction.dtype) && from != instruction.dtype;
  }

  /// Of inputs, and behind them of results that are parts of values.
  std::optional<Views> find_all_views(std::span<const Shape> shapes) const {
    if (program_.reads.empty()) return find_views(program_.shape, shapes);
    std::vector<Shape> all(shapes.begin(), shapes.end());
    all.resize(all.size() + program_.writes.size(), program_.shape);
    std::vector<ElementwiseProgram::Place> places = program_.reads;
    places.insert(places.end(), program_.writes.begin(), program_.writes.end());
    const std::int64_t count = program_.shape.num_elements();
    for (const auto& place : places)
      if (place.row > 0 &&
          count / place.row > std::numeric_limits<std::int32_t>::max() / place.pitch)
        return std::nullopt;
    return find_views(program_.shape, all, places);
  }
  bool read_inputs(std::span<const Shape> shapes) {
    const std::optional<Views> views = find_all_views(shapes);
    if (!views) return false;
    code_.count = static_cast<std::int32_t>(program_.shape.num_elements());
    code_.num_axes = views->num_axes;
    std::copy(std::begin(views->reading), std::end(views->reading), code_.reading);
    for (std::size_t i = 0; i < program_.writes.size(); ++i)
      code_.writing[i] =
          static_cast<std::int8_t>(views->reading[at(program_.num_inputs()) + i] + 1);
    for (std::int32_t i = 0; i < program_.num_inputs(); ++i)
      code_.inputs_stored[i] = stored(program_.dtype(i));
    for (std::size_t i = 0; i < program_.results.size(); ++i) {
      code_.outputs_stored[i] = stored(program_.dtype(program_.results[i]));
      if (code_.outputs_stored[i] == Stored::byte) code_.is_interpreted = 0;
    }
    const auto has_halves = [](const auto& instruction) { return is_half(instruction.dtype); };
    code_.has_halves = std::ranges::any_of(program_.input_dtypes, is_half) ||
                       std::ranges::any_of(program_.instructions, has_halves);
    for (int axis = 0; axis < views->num_axes; ++axis) {
      code_.extents[axis] = FastDivisor(static_cast<int>(views->extents[axis]));
      for (int v = 0; v < views->num_views; ++v)
        code_.strides[v][axis] = static_cast<std::int32_t>(views->strides[v][axis]);
    }
    code_.four_share_row = views->num_axes > 0 && views->extents[0] % 4 == 0;
    return true;
  }

  bool write_steps() {
    // The last ones are what is still to be rounded.
    std::int32_t unrounded = program_.num_registers();
    place_.assign(at(unrounded) + program_.instructions.size(), kNowhere);
    last_use_.assign(place_.size(), -1);
    value_.resize(at(program_.num_registers()));
    std::iota(value_.begin(), value_.end(), 0);
    for (std::int32_t input = 0; input < program_.num_inputs(); ++input) store(input, false);
    std::int32_t made = program_.num_inputs();
    for (const Instruction& instruction : program_.instructions) {
      std::vector<std::int32_t> operands;
      for (int i = 0; i < instruction.num_operands; ++i)
        operands.push_back(value_[at(instruction.operands[at(i)])]);
      const int round = rounding_code(instruction.dtype);
      if (is_cast(instruction)) {
        if (rounds(instruction))
          drafts_.push_back({round, made, operands, -1});
        else
          value_[at(made)] = operands[0];
        store(made++, rounds(instruction));
        continue;
      }
      const int code = code_of(instruction);
      if (code >= codes::count(codes::ShortOfHalves{})) code_.has_functions = 1;
      if (code >= codes::count(codes::Functions{})) code_.is_interpreted = 0;
      for (const std::string_view name : parameters_of(instruction.op->name))
        operands.push_back(constant(instruction.attributes.get<double>(name)));
      if (is_half(instruction.dtype) && !is_exact(code)) {
        drafts_.push_back({code, unrounded, operands, -1});
        operands = {unrounded++};
        drafts_.push_back({round, made, operands, -1});
      } else {
        drafts_.push_back({code, made, operands, -1});
      }
      store(made++, true);
    }
    for (std::size_t i = 0; i < drafts_.size(); ++i)
      for (const std::int32_t reg : drafts_[i].operands)
        if (reg >= 0) last_use_[at(reg)] = static_cast<int>(i);
    return drafts_.size() <= kMaxFloatSteps && code_.num_constants <= kMaxFloatConstants;
  }
  /// As an operand.
  std::int32_t constant(double value) {
    if (code_.num_constants < kMaxFloatConstants)
      code_.constants[code_.num_constants] = static_cast<float>(value);
    return ~code_.num_constants++;
  }
  static int rounding_code(DType dtype) {
    return find_code(codes::ShortOfHalves{},
                     dtype == float16 ? RoundTo<Half>::op : RoundTo<BFloat16>::op);
  }
  /// To each output that is this value: with the step that makes it, or as steps of their own.
  void store(std::int32_t reg, bool has_step) {
    for (std::size_t output = 0; output < program_.results.size(); ++output) {
      if (program_.results[output] != reg) continue;
      if (has_step)
        drafts_.back().output = static_cast<int>(output);
      else
        drafts_.push_back(
            {kItself, value_[at(reg)], {value_[at(reg)]}, static_cast<int>(output)});
      has_step = false;
    }
  }

  bool allocate() {
    for (std::int32_t input = 0; input < program_.num_inputs(); ++input) {
      if (last_use_[at(input)] < 0) continue;
      if (code_.reading[input] == kAtZero) {
        if (code_.num_uniforms == kMaxFloatUniforms) return false;
        place_[at(input)] = kUniform + code_.num_uniforms;
        code_.uniforms[code_.num_uniforms++] = static_cast<std::uint8_t>(input);
      } else {
        place_[at(input)] = code_.num_loads;
        code_.loads[code_.num_loads++] = static_cast<std::uint8_t>(input);
      }
    }
    code_.num_registers = code_.num_loads;
    for (const Draft& draft : drafts_) add(draft);
    if (code_.num_registers > kMaxInterpretedRegisters) code_.is_interpreted = 0;
    return code_.num_registers <= kMaxFloatRegisters;
  }

  void add(const Draft& draft) {
    const int number = code_.num_steps++;
    FloatStep& step = code_.steps[number];
    step.code = static_cast<std::uint8_t>(draft.code);
    for (std::size_t i = 0; i < draft.operands.size(); ++i)
      if (draft.operands[i] != last_)
        step.operands[i] =
            static_cast<std::uint8_t>(draft.operands[i] < 0 ? kConstantValue + ~draft.operands[i]
                                                            : place_[at(draft.operands[i])]);
    for (const std::int32_t reg : draft.operands) release(reg, number);
    if (draft.output >= 0) step.output = static_cast<std::uint8_t>(draft.output);
    last_ = draft.result;
    // What only the next step reads needs no register.
    int& place = place_[at(draft.result)];
    if (place != kNowhere || last_use_[at(draft.result)] <= number + 1) return;
    if (free_.empty()) {
      place = code_.num_registers++;
    } else {
      place = free_.back();
      free_.pop_back();
    }
    step.result = static_cast<std::uint8_t>(place);
  }
  void release(std::int32_t reg, int number) {
    if (reg < 0) return;
    int& place = place_[at(reg)];
    if (last_use_[at(reg)] != number || place >= kUniform) return;
    free_.push_back(place);
    place = kNowhere;
  }

  const ElementwiseProgram& program_;
  bool fits_ = true;
  FloatCode code_;
  std::vector<Draft> drafts_;
  std::vector<std::int32_t> value_;  ///< of each register of the program: the one it equals
  std::vector<int> place_;           ///< of each register of the program: the code's operand
  std::vector<int> last_use_;        ///< the last step that reads it
  std::vector<int> free_;
  std::optional<std::int32_t> last_;  ///< what the last step made
};

}  // namespace

std::optional<FloatCode> encode_floats(const ElementwiseProgram& program,
                                       std::span<const Shape> shapes) {
  return FloatEncoder(program, shapes).take();
}

bool is_aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
}

void bind(FloatCode& code, std::span<const void* const> inputs, std::span<void* const> outputs) {
  code.is_aligned = 1;
  const auto look_at = [&](const void* address) {
    if (!is_aligned(address)) code.is_aligned = 0;
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    code.inputs[i] = inputs[i];
    look_at(inputs[i]);
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    code.outputs[i] = outputs[i];
    look_at(outputs[i]);
  }
}

}  // namespace gradgraph::cuda

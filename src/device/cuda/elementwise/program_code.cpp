#include "device/cuda/elementwise/program_code.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/index.h"
#include "device/shared/elements.h"
#include "device/shared/elementwise_ops.h"
#include "device/shared/half_programs.h"

namespace gradgraph::cuda {
namespace {

using Instruction = ElementwiseProgram::Instruction;

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

/// An axis as a part of the one inside it, where all views go on there.
void add_axis(Views& views, std::int64_t extent, const std::int64_t* strides) {
  const int last = views.num_axes - 1;
  bool continues = last >= 0;
  for (int v = 0; continues && v < views.num_views; ++v)
    continues = strides[v] == views.strides[v][last] * views.extents[last];
  if (continues) {
    views.extents[last] *= extent;
    return;
  }
  const int axis = views.num_axes++;
  views.extents[axis] = extent;
  for (int v = 0; v < views.num_views; ++v) views.strides[v][axis] = strides[v];
}

/// Writes the steps. A register of the program has one of the code's from when its value is made
/// to when nobody needs it any more.
class Encoder {
 public:
  Encoder(const ElementwiseProgram& program, std::span<const Shape> shapes, int updates)
      : program_(program), updates_(updates) {
    const std::optional<Views> views = find_views(program.shape, shapes);
    fits_ = views && program.results.size() <= kMaxOutputs;
    if (!fits_) return;
    static_cast<Views&>(code_) = *views;
    code_.count = program.shape.num_elements();
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

std::optional<Views> find_views(const Shape& shape, std::span<const Shape> inputs,
                                std::span<const ElementwiseProgram::Place> places) {
  if (inputs.size() > kMaxInputs) return std::nullopt;
  Views views;
  using Place = ElementwiseProgram::Place;
  const Shape* viewed[kMaxViews];
  Place parts[kMaxViews];
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::int64_t count = inputs[i].num_elements();
    const Place place = places.empty() ? Place{} : places[i];
    if (place.row > 0) {
      // Parts that lie alike have one view.
      int view = 0;
      while (view < views.num_views &&
             (parts[view].row != place.row || parts[view].pitch != place.pitch))
        ++view;
      if (view == kMaxViews) return std::nullopt;
      views.reading[i] = static_cast<std::int8_t>(view);
      if (view < views.num_views) continue;
      parts[view] = place;
      viewed[views.num_views++] = &shape;
    } else if (count == shape.num_elements()) {
      views.reading[i] = kOwnIndex;
    } else if (count == 1) {
      views.reading[i] = kAtZero;
    } else if (views.num_views == kMaxViews) {
      return std::nullopt;
    } else {
      views.reading[i] = views.num_views;
      viewed[views.num_views++] = &inputs[i];
    }
  }
  if (views.num_views == 0) return views;
  std::int64_t next[kMaxViews], strides[kMaxViews];
  std::fill(std::begin(next), std::end(next), 1);
  const int rank = shape.rank();
  for (int axis = rank - 1; axis >= 0; --axis) {
    for (int v = 0; v < views.num_views; ++v) {
      const int own = axis - (rank - viewed[v]->rank());
      const std::int64_t size = own < 0 ? 1 : (*viewed[v])[own];
      const Place& part = parts[v];
      strides[v] = size == 1                             ? 0
                   : part.row == 0 || next[v] < part.row ? next[v]
                                                         : next[v] / part.row * part.pitch;
      next[v] *= size;
    }
    if (shape[axis] > 1) add_axis(views, shape[axis], strides);
  }
  return views;
}

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

#include "device/cpu/fused/program_runner.h"

#include <algorithm>
#include <cstring>

#include "core/index.h"
#include "device/parallel.h"
#include "device/shared/elements.h"
#include "device/shared/elementwise_ops.h"
#include "device/shared/half_programs.h"

namespace gradgraph {
namespace {

using std::int64_t;

constexpr int64_t kTile = 1024;
constexpr std::size_t kBufferBytes = kTile * sizeof(double);
constexpr int64_t kShortestRun = 256;
/// Columns from which a patch goes row by row: strips would be fetched in pieces all over memory.
constexpr int64_t kLongRow = 512;

/// How many elements of an array of shape `whole` one row of its length in `part`, which is
/// broadcast, is repeated for: 0 if it is not.
int64_t elements_of_a_row(const Shape& whole, const Shape& part) {
  const int behind = whole.rank() - part.rank();
  int axis = whole.rank() - 1;
  int64_t count = whole[axis];
  if (part.rank() == 0 || part[axis - behind] != count) return 0;
  while (--axis >= 0 && (axis < behind || part[axis - behind] == 1)) count *= whole[axis];
  return count > whole[whole.rank() - 1] ? count : 0;
}

int64_t element_size(DType dtype) { return static_cast<int64_t>(size_of(dtype)); }

}  // namespace

/// What is the same for all registers of one tile.
struct ProgramRunner::Tile {
  std::span<const void* const> inputs;
  std::span<void* const> outputs;
  char* scratch;
  void* links;            ///< the chain's work memory
  const char** expanded;  ///< where each expanded input is
  const char* chunk;      ///< at this tile
  int64_t position, length;
  int64_t kept_from = -1;  ///< the tile before, if it is no shorter and of the same columns

  /// Whether a row that goes on for `repeats` elements lies there as it must already.
  bool keeps_row(int64_t repeats) const {
    return kept_from >= 0 && repeats > 0 &&
           kept_from / repeats == (position + length - 1) / repeats;
  }
};

ProgramRunner::ProgramRunner(const ElementwiseProgram& given, std::span<const Shape> shapes,
                             std::int32_t updates, std::int32_t chunk)
    : ProgramRunner(in_float32(given), shapes, updates, chunk, Executable()) {}

ProgramRunner::ProgramRunner(const ElementwiseProgram& program, std::span<const Shape> shapes,
                             std::int32_t updates, std::int32_t chunk, Executable)
    : results_(program.results),
      writes_(program.writes),
      row_length_(program.shape.rank() > 0 ? program.shape[program.shape.rank() - 1] : 1),
      next_parameter_(program.num_registers()) {
  for (const Shape& shape : shapes) add_input(program, shape, chunk);
  for (const auto& instruction : program.instructions) add_step(program, instruction);
  for (const auto& instruction : program.instructions) add_parameters(instruction);
  choose_runs();
  assign_buffers(updates);
  // One instruction needs no thread.
  if (steps_.size() > 1) make_chain(program);
}

bool ProgramRunner::knows(const Node& node) {
  if (node.num_inputs() == 0 || node.num_inputs() > 3) return false;
  const DType operand = node.input(node.num_inputs() - 1).dtype();
  return find_loop(node.op().name, calculated_in(operand), calculated_in(node.dtype())) &&
         has_known_attributes(node);
}

std::int64_t ProgramRunner::grain(const ElementwiseProgram& program) {
  std::int64_t cost = 0;
  for (const auto& instruction : program.instructions) cost += element_cost(instruction.op->name);
  return grain_of_cost(cost);
}

std::int64_t ProgramRunner::grain_of_cost(std::int64_t additions) {
  // An element that is read and written costs about two additions besides.
  constexpr std::int64_t kMoved = 2, kLeast = 1024;
  return std::max(kParallelGrain * (kMoved + 1) / (kMoved + additions), kLeast);
}

std::size_t ProgramRunner::scratch_bytes() const {
  // Whole cache lines: threads have theirs one behind the other.
  const std::size_t rest = chain_.scratch_bytes() + expanded_.size() * sizeof(const char*);
  return at(buffers_) * kBufferBytes + (rest + 63) / 64 * 64;
}

void ProgramRunner::add_input(const ElementwiseProgram& program, const Shape& shape,
                              std::int32_t chunk) {
  const auto index = static_cast<std::int32_t>(registers_.size());
  const std::int32_t input = chunk != kNoChunk && index > chunk ? index + 1 : index;
  const int64_t count = program.shape.num_elements();
  Register reg{Register::moving_input, input, element_size(program.dtype(index))};
  if (index == chunk) {
    reg.kind = Register::chunk;
    chunk_size_ = reg.size;
  } else if (!program.reads.empty() && program.reads[at(index)].row > 0) {
    reg.kind = Register::expanded_input;
    expanded_.push_back({index, input, Broadcast<1>(program.shape, {program.shape}), 0,
                         program.reads[at(index)]});
  } else if (shape.num_elements() == 1 && count != 1) {
    reg.kind = Register::fixed_input;
  } else if (shape.num_elements() != count) {
    reg.kind = Register::expanded_input;
    expanded_.push_back({index,
                         input,
                         Broadcast<1>(program.shape, {shape}),
                         elements_of_a_row(program.shape, shape),
                         {}});
  }
  registers_.push_back(reg);
}

void ProgramRunner::add_step(const ElementwiseProgram& program,
                             const ElementwiseProgram::Instruction& instruction) {
  const auto result = static_cast<std::int32_t>(registers_.size());
  const DType operand = program.dtype(instruction.operands[at(instruction.num_operands - 1)]);
  const ElementLoop loop = find_loop(instruction.op->name, operand, instruction.dtype);
  if (!loop) throw KernelError("no loop for " + instruction.op->name);
  Step step{.loop = loop, .num_operands = instruction.num_operands, .result = result};
  std::ranges::copy(instruction.operands, step.operands.begin());
  for (std::size_t i = 0; i < parameters_of(instruction.op->name).size(); ++i)
    step.operands[at(step.num_operands++)] = next_parameter_++;
  steps_.push_back(step);
  registers_.push_back({Register::buffer, 0, element_size(instruction.dtype)});
}

void ProgramRunner::add_parameters(const ElementwiseProgram::Instruction& instruction) {
  for (const std::string_view name : parameters_of(instruction.op->name)) {
    const auto index = static_cast<std::int32_t>(parameters_.size());
    parameters_.push_back(
        element_bits(instruction.dtype, instruction.attributes.get<double>(name)));
    registers_.push_back({Register::parameter, index, element_size(instruction.dtype)});
  }
}

/// Runs that are long enough spare laying out what is broadcast. But chains go by whole blocks,
/// and rows of which a tile has a whole number are laid out once for many tiles.
void ProgramRunner::choose_runs() {
  if (expanded_.empty()) return;
  const int64_t shortest = std::ranges::min(expanded_, {}, &Expanded::extent).extent();
  if (shortest < kShortestRun) return;
  if (steps_.size() > 1 && std::ranges::none_of(expanded_, &Expanded::stays) &&
      (chunk_size_ > 0 || kTile % shortest == 0))
    return;
  run_length_ = shortest;
  for (const Expanded& input : expanded_)
    if (input.stays()) registers_[at(input.reg)].kind = Register::run_input;
}

/// Registers share buffers once nobody reads them any more. A step writes the output that it
/// computes directly once the input whose place the output takes has been read: for an update
/// its variable, else of output 0 possibly any, of others none.
void ProgramRunner::assign_buffers(std::int32_t updates) {
  const auto count = static_cast<std::int32_t>(registers_.size() - parameters_.size());
  std::vector<std::int32_t> last_use(registers_.size(), -1);
  for (const Step& step : steps_)
    for (std::int32_t i = 0; i < step.num_operands; ++i)
      last_use[at(step.operands[at(i)])] = step.result;
  for (const std::int32_t result : results_) last_use[at(result)] = count;

  std::vector<std::int32_t> free;
  const auto take = [&] {
    if (free.empty()) return buffers_++;
    const std::int32_t buffer = free.back();
    free.pop_back();
    return buffer;
  };
  // An expanded input keeps its input's index and finds its buffer by its place in the list.
  buffers_ = run_length_ > 0 ? 0 : static_cast<std::int32_t>(expanded_.size());
  for (const Step& step : steps_) {
    Register& result = registers_[at(step.result)];
    const auto seen =
        static_cast<std::int32_t>(std::ranges::find(results_, step.result) - results_.begin());
    const std::int32_t last_read = seen < updates ? last_use[at(seen)]
                                   : seen == 0    ? count - 1
                                                  : -1;
    if (last_read <= step.result && std::ranges::count(results_, step.result) == 1 &&
        !is_part(at(seen)))
      result = {Register::output, seen, result.size};
    else if (at(seen) < results_.size())
      result.index =
          buffers_++;  // a chain keeps its blocks while it goes through all others again
    else
      result.index = take();
    for (std::int32_t i = 0; i < step.num_operands; ++i) {
      const std::int32_t operand = step.operands[at(i)];
      if (registers_[at(operand)].kind != Register::buffer ||
          last_use[at(operand)] != step.result)
        continue;
      free.push_back(registers_[at(operand)].index);
      last_use[at(operand)] = -1;  // one operand may stand twice
    }
  }
  for (std::size_t i = 0; i < expanded_.size(); ++i)
    registers_[at(expanded_[i].reg)].index = static_cast<std::int32_t>(i);
}

void ProgramRunner::make_chain(const ElementwiseProgram& program) {
  std::vector<bool> fixed, kept(registers_.size());
  for (const Register& reg : registers_)
    fixed.push_back(reg.kind == Register::fixed_input || reg.kind == Register::run_input);
  for (const std::int32_t result : results_) kept[at(result)] = true;
  chain_ = Chain(program, fixed, kept);
  const auto repeats_everywhere = [&](const Expanded& input) {
    return input.repeats == program.shape.num_elements();
  };
  runs_strips_ = chain_ && run_length_ == 0 &&
                 std::ranges::all_of(expanded_, repeats_everywhere) &&
                 std::ranges::all_of(results_, [&](std::int32_t result) {
                   return registers_[at(result)].kind == Register::output;
                 });
}

bool ProgramRunner::run(std::span<const void* const> inputs, std::span<void* const> outputs,
                        void* scratch, int64_t begin, int64_t end, const void* chunk) const {
  int64_t length = 0;
  bool accepted = true;
  for (int64_t position = begin; position < end; position += length) {
    const int64_t before = length;
    length = end - position;
    if (steps_.size() > 1 || buffers_ > 0) length = std::min(length, kTile);
    if (run_length_ > 0) length = std::min(length, run_length_ - position % run_length_);
    const bool as_chain = chain_ && length >= chain_.block_elements();
    if (as_chain) length -= length % chain_.block_elements();
    const char* given = static_cast<const char*>(chunk);
    if (given) given += (position - begin) * chunk_size_;
    Tile tile = tile_in(inputs, outputs, scratch, position, length, given);
    if (before >= length && before % row_length_ == 0) tile.kept_from = position - before;
    accepted &= run_tile(tile, as_chain);
  }
  return accepted;
}

bool ProgramRunner::run(std::span<const void* const> inputs, std::span<void* const> outputs,
                        void* scratch, const Patch& patch) const {
  const auto* chunk = static_cast<const char*>(patch.chunk);
  const auto chunk_at = [&](int64_t row, int64_t column) {
    return chunk ? chunk + (row * patch.stride + column) * chunk_size_ : nullptr;
  };
  // Rows and columns of whole blocks first.
  const int64_t width = chain_.line_elements();
  const bool in_strips = runs_strips_ && patch.columns < kLongRow;
  const int64_t rows = in_strips ? patch.rows / kLinkLines * kLinkLines : 0;
  const int64_t columns = rows > 0 ? patch.columns / width * width : 0;
  const int64_t first = patch.row * row_length_ + patch.column;
  for (int64_t column = 0; column < columns; column += width)
    run_strip(tile_in(inputs, outputs, scratch, first + column, width, chunk_at(0, column)), rows,
              patch.stride);
  bool accepted = true;
  for (int64_t row = 0; row < patch.rows; ++row) {
    const int64_t begin = row < rows ? columns : 0, start = first + row * row_length_;
    accepted &=
        run(inputs, outputs, scratch, start + begin, start + patch.columns, chunk_at(row, begin));
  }
  return accepted;
}

ProgramRunner::Tile ProgramRunner::tile_in(std::span<const void* const> inputs,
                                           std::span<void* const> outputs, void* scratch,
                                           int64_t position, int64_t length,
                                           const char* chunk) const {
  auto* const buffers = static_cast<char*>(scratch);
  char* const links = buffers + at(buffers_) * kBufferBytes;
  auto* const expanded = reinterpret_cast<const char**>(links + chain_.scratch_bytes());
  return {inputs, outputs, buffers, links, expanded, chunk, position, length};
}

bool ProgramRunner::run_tile(const Tile& tile, bool as_chain) const {
  for (std::size_t i = 0; i < expanded_.size(); ++i)
    if (!tile.keeps_row(expanded_[i].repeats)) tile.expanded[i] = expand(expanded_[i], tile);
  if (as_chain)
    chain_.run(tile.length / chain_.block_elements(), tile.links, [&](std::int32_t reg) {
      return Chain::Place{address(reg, tile), chain_.line_elements() * registers_[at(reg)].size};
    });
  bool accepted = true;
  for (const Step& step : steps_) {
    if (as_chain) break;
    std::array<const void*, kMaxOperands> operands{};
    unsigned moves = 0;
    for (std::size_t i = 0; i < at(step.num_operands); ++i) {
      operands[i] = address(step.operands[i], tile);
      const Register::Kind kind = registers_[at(step.operands[i])].kind;
      if (kind != Register::fixed_input && kind != Register::run_input &&
          kind != Register::parameter)
        moves |= 1u << i;
    }
    accepted &= step.loop(operands.data(), moves, address(step.result, tile), tile.length);
  }
  for (std::size_t i = 0; i < results_.size(); ++i)
    if (registers_[at(results_[i])].kind != Register::output) store(i, tile);
  return accepted;
}

namespace {

/// Calls body(element, offset, count) for the pieces of rows that [begin, end) of a part are.
template <class Body>
void for_pieces(const ElementwiseProgram::Place& part, int64_t begin, int64_t end,
                const Body& body) {
  int64_t row = begin / part.row, column = begin % part.row;
  for (int64_t element = begin; element < end; ++row, column = 0) {
    const int64_t count = std::min(part.row - column, end - element);
    body(element, row * part.pitch + column, count);
    element += count;
  }
}

}  // namespace

/// Takes what a tile has of an output to where it belongs.
void ProgramRunner::store(std::size_t result, const Tile& tile) const {
  const int64_t size = registers_[at(results_[result])].size;
  const char* const from = address(results_[result], tile);
  char* const to = static_cast<char*>(tile.outputs[result]);
  const int64_t end = tile.position + tile.length;
  const auto copy = [&](int64_t element, int64_t offset, int64_t count) {
    std::memcpy(to + offset * size, from + (element - tile.position) * size, at(count * size));
  };
  if (is_part(result))
    for_pieces(writes_[result], tile.position, end, copy);
  else
    copy(tile.position, tile.position, tile.length);
}

/// The tile is the strip's first row.
void ProgramRunner::run_strip(const Tile& tile, int64_t rows, int64_t chunk_stride) const {
  for (std::size_t i = 0; i < expanded_.size(); ++i)
    tile.expanded[i] = expand(expanded_[i], tile);
  chain_.run(rows / kLinkLines, tile.links, [&](std::int32_t reg) {
    const auto [kind, index, size] = registers_[at(reg)];
    int64_t elements = row_length_;
    if (kind == Register::chunk) elements = chunk_stride;
    if (kind == Register::buffer) elements = chain_.line_elements();
    if (kind == Register::expanded_input) elements = 0;
    return Chain::Place{address(reg, tile), elements * size};
  });
}

char* ProgramRunner::address(std::int32_t reg, const Tile& tile) const {
  const auto [kind, index, size] = registers_[at(reg)];
  const auto input = [&](std::int32_t i) {
    return static_cast<char*>(const_cast<void*>(tile.inputs[at(i)]));
  };
  switch (kind) {
    case Register::moving_input: return input(index) + tile.position * size;
    case Register::fixed_input: return input(index);
    case Register::parameter:
      return reinterpret_cast<char*>(const_cast<std::uint64_t*>(&parameters_[at(index)]));
    case Register::chunk: return const_cast<char*>(tile.chunk);
    case Register::output:
      return static_cast<char*>(tile.outputs[at(index)]) + tile.position * size;
    case Register::expanded_input:
    case Register::run_input: return const_cast<char*>(tile.expanded[at(index)]);
    case Register::buffer: return tile.scratch + at(index) * kBufferBytes;
  }
  __builtin_unreachable();
}

namespace {

template <class T>
void repeat(const char* element, char* to, int64_t count) {
  T value;
  std::memcpy(&value, element, sizeof value);
  std::fill_n(reinterpret_cast<T*>(to), count, value);
}
/// One element of `size` bytes, `count` times.
void repeat(const char* element, int64_t size, char* to, int64_t count) {
  switch (size) {
    case 1: return repeat<std::uint8_t>(element, to, count);
    case 2: return repeat<std::uint16_t>(element, to, count);
    case 4: return repeat<std::uint32_t>(element, to, count);
    case 8: return repeat<std::uint64_t>(element, to, count);
  }
  __builtin_unreachable();
}

/// `bytes` of a row after row, each copy twice as long as the one before.
void repeat_row(const char* row, int64_t row_bytes, char* to, int64_t bytes) {
  std::memcpy(to, row, at(std::min(row_bytes, bytes)));
  for (int64_t done = row_bytes; done < bytes; done *= 2)
    std::memcpy(to + done, to, at(std::min(done, bytes - done)));
}

}  // namespace

const char* ProgramRunner::expand(const Expanded& input, const Tile& tile) const {
  const Register& reg = registers_[at(input.reg)];
  const int64_t size = reg.size;
  const char* from = static_cast<const char*>(tile.inputs[at(input.input)]);
  char* const to = tile.scratch + at(reg.index) * kBufferBytes;
  if (input.part.row > 0) return expand_part(input, tile, to);
  if (run_length_ > 0) return from + input.walk.offsets_at(tile.position)[0] * size;
  if (input.repeats > 0 && tile.length > row_length_ && tile.position % row_length_ == 0) {
    for (int64_t i = tile.position, end = i + tile.length, next = 0; i < end; i = next) {
      next = std::min(end, (i / input.repeats + 1) * input.repeats);
      repeat_row(from + input.walk.offsets_at(i)[0] * size, row_length_ * size,
                 to + (i - tile.position) * size, (next - i) * size);
    }
    return to;
  }
  const char* place = to;
  const bool moves = input.walk.inner_steps()[0] == 1;
  input.walk.for_rows(tile.position, tile.position + tile.length,
                      [&](int64_t begin, const auto& offset, int64_t row) {
                        const char* source = from + offset[0] * size;
                        char* target = to + (begin - tile.position) * size;
                        if (moves && row == tile.length) {
                          place = source;
                        } else if (moves) {
                          std::memcpy(target, source, static_cast<std::size_t>(row * size));
                        } else {
                          repeat(source, size, target, row);
                        }
                      });
  return place;
}

/// A piece of one row is read where it is, as it is wherever tiles end with runs.
const char* ProgramRunner::expand_part(const Expanded& input, const Tile& tile, char* to) const {
  const int64_t size = registers_[at(input.reg)].size;
  const char* const from = static_cast<const char*>(tile.inputs[at(input.input)]);
  const char* place = to;
  for_pieces(input.part, tile.position, tile.position + tile.length,
             [&](int64_t element, int64_t offset, int64_t count) {
               if (count == tile.length)
                 place = from + offset * size;
               else
                 std::memcpy(to + (element - tile.position) * size, from + offset * size,
                             at(count * size));
             });
  return place;
}

}  // namespace gradgraph

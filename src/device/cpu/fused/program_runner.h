#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "device/cpu/broadcast.h"
#include "device/cpu/elementwise/loops.h"
#include "device/cpu/fused/chain.h"
#include "graph/program.h"

namespace gradgraph {

/// Runs an ElementwiseProgram tile by tile, a tile being what stays in the first-level cache:
/// whole blocks as one chain where the program is one, the rest instruction by instruction. Both
/// give the same bits, as do the ops' own kernels, which are programs of one instruction.
class ProgramRunner {
 public:
  static constexpr std::int32_t kNoChunk = -1;

  /// Whether there is a loop for this elementwise node, which takes all of its attributes.
  static bool knows(const Node& node);

  /// `shapes` are those of the inputs. The first `updates` outputs are new values of the inputs
  /// of the same number, and written where these are. Input `chunk` is made by the caller, who
  /// has a part of it at hand; in the arrays of `run` the two operands that it is made of stand
  /// in its place. Of parts of values the arrays have the beginnings. Throws KernelError for an
  /// op that has no loop.
  ProgramRunner(const ElementwiseProgram& program, std::span<const Shape> shapes,
                std::int32_t updates = 0, std::int32_t chunk = kNoChunk);

  /// Elements that one thread should at least have before a second one pays for itself.
  static std::int64_t grain(const ElementwiseProgram& program);
  /// The same of functions that cost `additions` an element.
  static std::int64_t grain_of_cost(std::int64_t additions);

  /// Work memory of one call to `run`; a cache line's alignment is enough.
  std::size_t scratch_bytes() const;

  /// Computes elements [begin, end) of all outputs. Element `begin` of the chunk is at `chunk`,
  /// and the rest follow it. Without updates the first output may be one of the moving inputs.
  /// Returns false when an op refuses an operand.
  bool run(std::span<const void* const> inputs, std::span<void* const> outputs, void* scratch,
           std::int64_t begin, std::int64_t end, const void* chunk = nullptr) const;

  /// A patch of a program over a matrix, and the chunk's elements there, in rows `stride` apart.
  struct Patch {
    std::int64_t row, column, rows, columns;
    const void* chunk;
    std::int64_t stride;
  };
  /// Computes a patch of all outputs. Returns false when an op refuses an operand.
  bool run(std::span<const void* const> inputs, std::span<void* const> outputs, void* scratch,
           const Patch& patch) const;

 private:
  struct Executable {};
  /// Of a program whose instructions all have loops.
  ProgramRunner(const ElementwiseProgram& program, std::span<const Shape> shapes,
                std::int32_t updates, std::int32_t chunk, Executable);

  /// Where a register's elements are while a tile is computed.
  struct Register {
    enum Kind : std::uint8_t {
      moving_input,
      fixed_input,
      run_input,  ///< the same for all elements of a run
      parameter,
      chunk,
      expanded_input,
      buffer,
      output
    };
    Kind kind = buffer;
    std::int32_t index = 0;  ///< of the input, the parameter, the buffer or the output
    std::int64_t size = 0;   ///< bytes of an element
  };
  struct Step {
    ElementLoop loop = nullptr;
    std::int32_t num_operands = 0;                      ///< parameters included
    std::array<std::int32_t, kMaxOperands> operands{};  ///< registers
    std::int32_t result = 0;                            ///< register
  };
  /// An input that is broadcast. A tile within one row of it is read where it is, and so is every
  /// tile where they end with runs. Any other one is laid out in a buffer first.
  struct Expanded {
    std::int32_t reg, input;
    Broadcast<1> walk;
    std::int64_t repeats;  ///< for so many elements a row as long as the program's; 0 for none
    ElementwiseProgram::Place part;  ///< with a row: in place of the walk

    /// How many elements lie together.
    std::int64_t extent() const { return part.row > 0 ? part.row : walk.inner_extent(); }
    /// Whether these are one.
    bool stays() const { return part.row == 0 && walk.inner_steps()[0] == 0; }
  };
  struct Tile;

  void add_input(const ElementwiseProgram& program, const Shape& shape, std::int32_t chunk);
  void add_step(const ElementwiseProgram& program,
                const ElementwiseProgram::Instruction& instruction);
  void add_parameters(const ElementwiseProgram::Instruction& instruction);
  void choose_runs();
  void assign_buffers(std::int32_t updates);
  void make_chain(const ElementwiseProgram& program);
  Tile tile_in(std::span<const void* const> inputs, std::span<void* const> outputs, void* scratch,
               std::int64_t position, std::int64_t length, const char* chunk) const;
  bool run_tile(const Tile& tile, bool as_chain) const;
  void run_strip(const Tile& tile, std::int64_t rows, std::int64_t chunk_stride) const;
  const char* expand(const Expanded& input, const Tile& tile) const;
  const char* expand_part(const Expanded& input, const Tile& tile, char* to) const;
  void store(std::size_t result, const Tile& tile) const;
  bool is_part(std::size_t result) const { return !writes_.empty() && writes_[result].row > 0; }
  char* address(std::int32_t reg, const Tile& tile) const;

  std::vector<Register> registers_;        ///< of the program, then of all parameters
  std::vector<std::uint64_t> parameters_;  ///< their bits, in the low bytes
  std::vector<Step> steps_;
  std::vector<Expanded> expanded_;
  std::vector<std::int32_t> results_;              ///< the register of each output
  std::vector<ElementwiseProgram::Place> writes_;  ///< where outputs lie, if any is a part
  Chain chain_;
  std::int32_t buffers_ = 0;
  std::int64_t row_length_ = 1;  ///< of the program's shape
  std::int32_t next_parameter_ = 0;
  /// Tiles end where an input that is broadcast goes back or on to its next element: after so
  /// many elements. 0 where they do not.
  std::int64_t run_length_ = 0;
  /// Whether strips of a patch, a line of the chain's blocks wide, are run as chains.
  bool runs_strips_ = false;
  std::int64_t chunk_size_ = 0;  ///< bytes of one of its elements
};

}  // namespace gradgraph

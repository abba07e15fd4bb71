#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "device/cpu/broadcast.h"
#include "device/cpu/rows.h"
#include "graph/program.h"

namespace gradgraph {

/// Runs an ElementwiseProgram tile by tile: every instruction passes over a tile that stays in
/// the first-level cache, by the rows that the ops' own kernels use.
class ProgramRunner {
 public:
  /// Where input 0 comes from: an array like the others, or a block that the caller has at hand.
  enum class First : std::uint8_t { array, block };

  /// `shapes` are those of the inputs. Throws KernelError for an op that has no row.
  ProgramRunner(const ElementwiseProgram& program, std::span<const Shape> shapes,
                First first = First::array);

  /// Work memory of one call to `run`; a cache line's alignment is enough.
  std::size_t scratch_bytes() const;

  /// Computes elements [begin, end) of all outputs. With First::block, element `begin` of input
  /// 0 is at `block`, and the rest follow it. The first output may be one of the moving inputs.
  void run(std::span<const void* const> inputs, std::span<void* const> outputs, void* scratch,
           std::int64_t begin, std::int64_t end, const void* block = nullptr) const;

 private:
  /// Where a register's elements are while a tile is computed.
  struct Register {
    enum Kind : std::uint8_t { moving_input, fixed_input, block, expanded_input, slot, output };
    Kind kind = slot;
    std::int32_t index = 0;  ///< of the input, the slot or the output
    std::int64_t size = 0;   ///< bytes of an element
  };
  struct Step {
    Row row = nullptr;
    std::int32_t num_operands = 0;
    std::array<std::int32_t, 3> operands{};  ///< registers
    std::int32_t result = 0;                 ///< register
  };
  /// An input that is broadcast: each tile of it is laid out in a slot first.
  struct Expanded {
    std::int32_t reg;
    Broadcast<1> walk;
  };
  struct Tile;

  void add_input(const ElementwiseProgram& program, const Shape& shape, First first);
  void add_step(const ElementwiseProgram& program,
                const ElementwiseProgram::Instruction& instruction);
  void assign_slots();
  void run_tile(const Tile& tile) const;
  void expand(const Expanded& input, const Tile& tile) const;
  char* address(std::int32_t reg, const Tile& tile) const;

  std::vector<Register> registers_;
  std::vector<Step> steps_;
  std::vector<Expanded> expanded_;
  std::vector<std::int32_t> results_;  ///< the register of each output
  std::int32_t slots_ = 0;
};

}  // namespace gradgraph

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gradgraph/op.h"

namespace gradgraph {

/// A straight-line program of scalar ops, run for every element of `shape`. Registers 0 to
/// inputs - 1 are the inputs, by NumPy's broadcasting; each instruction fills the next one.
struct ElementwiseProgram {
  struct Instruction {
    const OpDef* op = nullptr;
    std::int32_t num_operands = 0;
    std::array<std::int32_t, 3> operands{};
    DType dtype = float32;  ///< of the result
    Attributes attributes;
  };

  /// Where an input or a result lies: rows of `row` elements that begin `pitch` apart, from
  /// `offset` on, in a larger value; or, with a row of 0, the value itself.
  struct Place {
    std::int32_t value = 0;  ///< which of the node's inputs, or outputs
    std::int64_t offset = 0, row = 0, pitch = 0;
  };

  Shape shape;
  std::vector<DType> input_dtypes;
  std::vector<Instruction> instructions;
  std::vector<std::int32_t> results;  ///< the register of each output

  /// Of every input and result, where some are parts of values ("fused_parts"); else empty.
  std::vector<Place> reads, writes;
  std::vector<Shape> values;  ///< what is written to

  std::int32_t num_registers() const {
    return num_inputs() + static_cast<std::int32_t>(instructions.size());
  }
  std::int32_t num_inputs() const { return static_cast<std::int32_t>(input_dtypes.size()); }
  DType dtype(std::int32_t reg) const {
    const std::int32_t inputs = num_inputs();
    return reg < inputs ? input_dtypes[static_cast<std::size_t>(reg)]
                        : instructions[static_cast<std::size_t>(reg - inputs)].dtype;
  }
};

inline const ElementwiseProgram& program_of(const Node& node) {
  return *node.attributes().get<std::shared_ptr<const ElementwiseProgram>>("program");
}

/// Whether an instruction says all that an elementwise node is: it waits for nobody.
bool is_instruction(const Node& node);

/// The program of a fused node, or one of an elementwise op on its own.
ElementwiseProgram make_program(const Node& node);

}  // namespace gradgraph

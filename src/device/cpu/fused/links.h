#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "device/cpu/elementwise/loop_list.h"
#include "gradgraph/dtype.h"

namespace gradgraph {

/// A piece of threaded code for elementwise programs. A block of elements, four lines of two
/// vectors, goes from link to link in the registers that hold arguments: each link changes them
/// and ends with a jump to the next. So what an instruction makes needs no memory on its way to
/// the next one, and the processor works at several instructions at a time.
struct Link {
  /// What it takes beside the link depends on the level of the instruction set.
  using Code = void (*)();

  Code code = nullptr;
  /// Where the first block of the other operand is, or where that block goes; bytes from one of
  /// its lines to the next, and from block to block, or kFixed. An op of more operands has a link
  /// for each that does not travel, of which the first has the code.
  char* memory = nullptr;
  std::ptrdiff_t line_step = 0, block_step = 0;

  static constexpr std::ptrdiff_t kFixed = -1;  ///< one element for all
};

inline constexpr std::size_t kLinkDTypes = 2;  ///< float32, float64
inline constexpr std::int64_t kLinkLines = 4;  ///< of a block

/// The code of an op, compiled for one level of the instruction set: by the place of the operand
/// that travels, and whether all others are fixed. Null where the op has none.
struct OpLinks {
  Link::Code code[kMaxOperands][2];
};

struct LinkTable {
  using Get = const LinkTable&();

  struct Codes {
    Link::Code load, load_fixed, store, end;
    OpLinks of_op[kElementwiseOps];  ///< in the order of the list of functors
    void (*run)(const Link* links, std::int64_t blocks);
  };
  std::int64_t line_bytes;
  Codes codes[kLinkDTypes];
};

/// In the fastest form that this processor runs.
const LinkTable& best_links();

/// Null where `op` is none of the list.
const OpLinks* find_links(const LinkTable::Codes& codes, std::string_view op);

}  // namespace gradgraph

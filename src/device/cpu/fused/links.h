#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "device/cpu/elementwise/rows.h"
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
  /// its lines to the next, and from block to block.
  char* memory = nullptr;
  std::ptrdiff_t line_step = 0, block_step = 0;
};

inline constexpr std::size_t kLinkDTypes = 2;  ///< float32, float64
inline constexpr std::int64_t kLinkLines = 4;  ///< of a block

/// The code of all links, compiled for one level of the instruction set. Ops are in the order of
/// their lists of functors.
struct LinkTable {
  using Get = const LinkTable&();

  struct Codes {
    Link::Code load, load_fixed, store, end;
    Link::Code unary[kMaxRowOps];
    /// With the other operand in memory on the right or on the left, moving or fixed.
    Link::Code arithmetic[kMaxRowOps][2][2];
    void (*run)(const Link* links, std::int64_t blocks);
  };
  std::int64_t line_bytes;
  Codes codes[kLinkDTypes];
};

/// In the fastest form that this processor runs.
const LinkTable& best_links();

/// Null where `op` has no link. Of a binary op `other_left` says which operand is in memory.
Link::Code find_unary_link(const LinkTable::Codes& codes, std::string_view op);
Link::Code find_binary_link(const LinkTable::Codes& codes, std::string_view op, bool other_left,
                            bool other_fixed);

}  // namespace gradgraph

#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "device/cuda/elementwise/generated_program.h"

namespace gradgraph::cuda {

class CompiledText;

/// A float program that the driver compiles; programs of one text are compiled once while any of
/// them is there. A driver that cannot leaves it to an interpreter.
class GeneratedKernel {
 public:
  /// Begins to compile the program; several at once take little longer than one. Nothing where it
  /// cannot be written. `may_align`: addresses may be aligned.
  static std::optional<GeneratedKernel> make(const FloatCode& code, const AddressTable& table,
                                             bool may_stop, bool may_align);

  /// For the addresses, which are as the table says. Null where the driver compiles no PTX, or
  /// they are not aligned as they must be. Waits until it is compiled. Throws a KernelError.
  const void* kernel(std::span<const void* const> addresses) const;
  int lanes() const { return lanes_; }

 private:
  GeneratedKernel(std::string text, int lanes);

  std::shared_ptr<CompiledText> compiled_;
  int lanes_;
};

}  // namespace gradgraph::cuda

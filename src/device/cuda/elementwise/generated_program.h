#pragma once

#include <string>

#include "device/cuda/elementwise/float_code.h"

namespace gradgraph::cuda {

/// Where a kernel finds addresses: in one row, the inputs of each set in turn, those that all sets
/// share, then the outputs of each set. A block's set is its y.
struct AddressTable {
  int sets = 1, inputs_of_set = 0, shared = 0, outputs_of_set = 0;

  int first_output() const { return sets * inputs_of_set + shared; }
  int size() const { return first_output() + sets * outputs_of_set; }
};

inline constexpr int kGeneratedThreads = 128;
/// More arguments than a kernel takes on every GPU are left to an interpreter.
inline constexpr int kMaxAddresses = 480;

/// The program as a kernel of PTX, which the driver compiles: `program(addresses, stopper)`. A
/// thread has `lanes` elements at a time, one or four; four need is_aligned of all addresses, and
/// a code that has_quads. `may_stop`: it does nothing where the stopper says so. Empty where a
/// step has no PTX.
std::string write_program(const FloatCode& code, const AddressTable& table, int lanes,
                          bool may_stop);
/// Whether all elements come four by four.
bool has_quads(const FloatCode& code);

}  // namespace gradgraph::cuda

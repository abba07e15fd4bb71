#pragma once

#include <string>

#include "device/cuda/elementwise/float_code.h"

namespace gradgraph::cuda {

/// Where a kernel finds addresses: in one row, the inputs that all sets share, then the inputs
/// and outputs of each set in turn. A block's set is its y.
struct AddressTable {
  int shared = 0, inputs_of_set = 0, outputs_of_set = 0, sets = 1;

  int of_set() const { return inputs_of_set + outputs_of_set; }
  int size() const { return shared + sets * of_set(); }
};

inline constexpr int kGeneratedThreads = 128;
/// More arguments than a kernel takes on every GPU are left to an interpreter.
inline constexpr int kMaxAddresses = 480;
/// The size of the row that a kernel takes, of which it reads what there is.
int num_addresses(const AddressTable& table);

/// The program as a kernel of PTX, which the driver compiles: `program(addresses, earliest, rank,
/// count)`, where a Stopper has earliest and rank. Programs that differ in nothing but sizes have
/// one text, unless inputs are repeated. A thread has `lanes` elements at a time, one or four;
/// four need is_aligned of all addresses, and a code that has_quads. `may_stop`: it does nothing
/// where the Stopper says so. Empty where a step has no PTX.
std::string write_program(const FloatCode& code, const AddressTable& table, int lanes,
                          bool may_stop);
/// Whether all elements come four by four.
bool has_quads(const FloatCode& code);

}  // namespace gradgraph::cuda

#pragma once

#include <cstdint>
#include <string>

#include "gradgraph/tensor.h"
#include "io/files/byte_source.h"

namespace gradgraph {

/// What stands before the elements of an array in NumPy's format.
struct NpyHeader {
  DType dtype = DType::float32;
  Shape shape;
  bool foreign_bytes = false;  ///< in the order that this machine does not have
  bool fortran_order = false;
  std::uint64_t data_offset = 0, data_bytes = 0;
};

/// Reads the header, and checks that so many elements can follow.
NpyHeader read_npy_header(ByteSource& source);

/// Reads an array, which must end where the source does.
Tensor read_npy_array(ByteSource& source);

/// Throws DataError where a boolean is neither 0 nor 1, which C++ must not see.
void check_booleans(const ByteSource& source, const NpyHeader& header, const void* data);

/// The bytes before the elements of `tensor`, 64 or a multiple.
std::string npy_header(const Tensor& tensor);

}  // namespace gradgraph

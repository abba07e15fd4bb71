#pragma once

#include <filesystem>
#include <vector>

#include "gradgraph/named_tensor.h"
#include "gradgraph/source_location.h"
#include "gradgraph/tensor.h"

/// NumPy's files. Source of the formats: numpy.lib.format, versions 1.0 to 3.0.
///
/// All eight dtypes are read and written; bfloat16, which NumPy lacks, as two bytes without a
/// meaning ('V2'), as the package ml_dtypes has it: `array.view(ml_dtypes.bfloat16)`. Others are
/// refused, with what to convert them to. Readers take C and Fortran order and either order of
/// bytes, and check every size against the file's before they take memory.
namespace gradgraph GRADGRAPH_API {

/// The array of a .npy file (`numpy.save`), plain or gzip. Throws DataError with path, fault and
/// offset.
Tensor read_npy(const std::filesystem::path& path,
                SourceLocation where = SourceLocation::current());

/// The same without reading it: elements come from the file when they are touched, and what is
/// changed of them stays in this process. Takes C order, this machine's order of bytes, and data
/// that begins at a multiple of 64 bytes, as NumPy has written them since 1.14; throws DataError
/// otherwise. The file must not become shorter while the tensor lives.
Tensor map_npy(const std::filesystem::path& path,
               SourceLocation where = SourceLocation::current());

/// Writes what `numpy.load` reads. A file of that name is replaced when the new one is whole.
/// Throws BuildError for an empty tensor, DataError where it cannot be written.
void write_npy(const std::filesystem::path& path, const Tensor& tensor,
               SourceLocation where = SourceLocation::current());

/// The arrays of a .npz file (`numpy.savez` and `savez_compressed`), in its order, under their
/// names there, without ".npy". Throws DataError with path, array, fault and offset; also for
/// names that come twice, for members that are no arrays, and for a wrong checksum.
std::vector<NamedTensor> read_npz(const std::filesystem::path& path,
                                  SourceLocation where = SourceLocation::current());

struct NpzOptions {
  bool compressed = false;  ///< by deflate, as `numpy.savez_compressed` does
};
/// Writes what `numpy.load` reads; the same arrays give the same bytes. A file of that name is
/// replaced when the new one is whole. Throws BuildError where there is no array, for an empty
/// tensor, and for names that are empty or come twice, DataError where it cannot be written.
void write_npz(const std::filesystem::path& path, const std::vector<NamedTensor>& arrays,
               const NpzOptions& options = {}, SourceLocation where = SourceLocation::current());

}  // namespace gradgraph

#include "gradgraph/npy.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "core/text.h"
#include "io/files/at_line.h"
#include "io/files/input_file.h"
#include "io/files/output_file.h"
#include "io/npy/npy_array.h"

namespace gradgraph {

namespace fs = std::filesystem;

namespace {

Tensor mapped_array(const fs::path& path) {
  InputFile file(path);
  if (file.compressed()) file.fail("is compressed, and cannot be mapped; read_npy reads it");
  const NpyHeader header = read_npy_header(file);
  if (header.fortran_order && header.shape.rank() > 1)
    file.fail("is in Fortran order, and cannot be mapped; read_npy reads it");
  if (header.foreign_bytes)
    file.fail("has another machine's order of bytes, and cannot be mapped; read_npy reads it");
  if (header.data_offset % Tensor::kAlignment != 0)
    file.fail(
        fmt::format("has its data at byte {}, which is no multiple of {}, and cannot be "
                    "mapped; read_npy reads it",
                    header.data_offset, Tensor::kAlignment));
  const std::uint64_t expected = header.data_offset + header.data_bytes;
  if (const std::uint64_t size = size_of_file(path); size != expected)
    file.fail_at(size < expected ? size : expected,
                 fmt::format("the header says {}{}, which takes {} bytes in all, but the file "
                             "has {}",
                             header.dtype, header.shape, expected, size));
  if (header.data_bytes == 0) return Tensor(header.dtype, header.shape, {});

  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) file.fail(std::strerror(errno));
  // Private: what a program changes is its own.
  void* const memory =
      mmap(nullptr, expected, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
  const int fault = errno;
  close(descriptor);
  if (memory == MAP_FAILED) file.fail(fmt::format("cannot be mapped: {}", std::strerror(fault)));
  const std::shared_ptr<void> owner(memory, [expected](void* begin) { munmap(begin, expected); });
  void* const data = static_cast<std::byte*>(memory) + header.data_offset;
  check_booleans(file, header, data);
  return Tensor::wrap(header.dtype, header.shape, data, owner);
}

}  // namespace

Tensor read_npy(const fs::path& path, SourceLocation where) {
  return at_line(where, [&] {
    InputFile file(path);
    return read_npy_array(file);
  });
}

Tensor map_npy(const fs::path& path, SourceLocation where) {
  return at_line(where, [&] { return mapped_array(path); });
}

void write_npy(const fs::path& path, const Tensor& tensor, SourceLocation where) {
  if (!tensor) throw BuildError("write_npy: the tensor is empty", where);
  const std::string header = npy_header(tensor);
  at_line(where, [&] {
    OutputFile file(path);
    file.write(header.data(), header.size());
    file.write(tensor.raw(), tensor.bytes());
    file.commit();
  });
}

}  // namespace gradgraph

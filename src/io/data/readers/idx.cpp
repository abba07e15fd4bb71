#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "core/text.h"
#include "gradgraph/data.h"
#include "io/files/at_line.h"
#include "io/files/input_file.h"

namespace gradgraph::data {
namespace {

namespace fs = std::filesystem;

DType element_type(const InputFile& reader, std::uint8_t code) {
  switch (code) {
    case 0x08: return uint8;
    case 0x0C: return int32;
    case 0x0D: return float32;
    case 0x0E: return float64;
    case 0x09: reader.fail_at(2, "IDX elements of type int8 (0x09) are not supported");
    case 0x0B: reader.fail_at(2, "IDX elements of type int16 (0x0B) are not supported");
    default: reader.fail_at(2, fmt::format("0x{:02X} is not an IDX element type", code));
  }
}

/// IDX numbers are big-endian.
void to_native(Tensor& tensor) {
  const std::size_t size = size_of(tensor.dtype());
  if (std::endian::native == std::endian::big || size == 1) return;
  auto* bytes = static_cast<char*>(tensor.raw());
  for (std::size_t i = 0; i < tensor.bytes(); i += size)
    std::reverse(bytes + i, bytes + i + size);
}

Tensor idx_array(const fs::path& path) {
  InputFile reader(path);
  std::array<std::uint8_t, 4> magic{};
  if (const auto got = reader.read(magic.data(), magic.size()); got < magic.size())
    reader.fail_at(got, fmt::format("truncated: {} bytes are no IDX header", got));
  if (magic[0] != 0 || magic[1] != 0)
    reader.fail_at(0, fmt::format("not an IDX file: it starts with {:02X} {:02X}, not with 00 00",
                                  magic[0], magic[1]));
  const DType dtype = element_type(reader, magic[2]);
  const int rank = magic[3];
  if (rank < 1 || rank > Shape::kMaxRank)
    reader.fail_at(3, fmt::format("{} dimensions; 1 to {} are supported", rank, Shape::kMaxRank));

  Shape shape;
  std::uint64_t bytes = size_of(dtype);
  bool overflow = false, nothing = false;
  for (int axis = 0; axis < rank; ++axis) {
    std::array<std::uint8_t, 4> field{};
    if (reader.read(field.data(), field.size()) < field.size())
      reader.fail_at(
          4 + 4 * static_cast<std::uint64_t>(axis),
          fmt::format("truncated: the header stops at dimension {} of {}", axis, rank));
    std::uint32_t dim = 0;
    for (const std::uint8_t byte : field) dim = dim << 8U | byte;
    shape.append(dim);
    overflow |= __builtin_mul_overflow(bytes, std::uint64_t{dim}, &bytes);
    nothing |= dim == 0;
  }
  if (nothing) bytes = 0, overflow = false;
  const auto header_bytes = static_cast<std::uint64_t>(4 + 4 * rank);
  const auto fail_truncated = [&](std::string_view only, std::uint64_t follow) {
    reader.fail_at(header_bytes + follow,
                   fmt::format("truncated: the header says {}{}, but {} {} bytes follow", dtype,
                               shape, only, follow));
  };
  // Checked before memory is taken, so that a broken header cannot ask for all of it.
  if (const std::uint64_t most = reader.most_bytes() - header_bytes; overflow || bytes > most)
    fail_truncated(reader.compressed() ? "at most" : "only", most);

  Tensor tensor = [&] {
    try {
      return Tensor(dtype, shape, {});
    } catch (const RunError& error) {
      reader.fail(error.what());
    }
  }();
  if (const auto got = reader.read(tensor.raw(), tensor.bytes()); got < tensor.bytes())
    fail_truncated("only", got);
  // Reading past the end also makes zlib check the sum of the compressed data.
  if (char extra = 0; reader.read(&extra, 1) != 0)
    reader.fail_at(header_bytes + tensor.bytes(),
                   fmt::format("the header says {}{}, but more than {} bytes follow", dtype,
                               shape, tensor.bytes()));
  to_native(tensor);
  return tensor;
}

}  // namespace

Tensor read_idx(const fs::path& path, SourceLocation where) {
  return at_line(where, [&] { return idx_array(path); });
}

}  // namespace gradgraph::data

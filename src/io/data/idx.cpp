#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "core/text.h"
#include "gradgraph/data.h"

namespace gradgraph::data {
namespace {

namespace fs = std::filesystem;

/// A file that may be compressed, read front to back. zlib passes plain files through.
class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) fail("no such file");
    if (error) fail(error.message());
    if (!fs::is_regular_file(status)) fail("not a regular file");
    stored_bytes_ = fs::file_size(path, error);
    if (error) fail(error.message());
    errno = 0;
    file_ = gzopen(path.c_str(), "rb");
    if (!file_) fail(errno != 0 ? std::strerror(errno) : "out of memory");
    gzbuffer(file_, 1U << 18U);
  }
  ~Reader() {
    if (file_) gzclose(file_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  [[noreturn]] void fail(std::string_view fault) const {
    throw DataError(fmt::format("{}: {}", path_.string(), fault));
  }

  /// Reads up to `bytes`; fewer only at the end of the file.
  std::size_t read(void* to, std::size_t bytes) {
    constexpr std::size_t kMostAtOnce = std::size_t{1} << 30U;
    std::size_t done = 0;
    while (done < bytes) {
      const auto part = static_cast<unsigned>(std::min(bytes - done, kMostAtOnce));
      const int got = gzread(file_, static_cast<char*>(to) + done, part);
      if (got < 0) fail_reading();
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    // A compressed file that stops in the middle is not an error to gzread, but leaves a mark.
    int code = Z_OK;
    gzerror(file_, &code);
    if (code != Z_OK) fail_reading();
    return done;
  }

  bool compressed() { return gzdirect(file_) == 0; }
  /// No file of this size holds more: deflate shrinks by at most a factor of 1,032.
  std::uint64_t most_bytes() {
    constexpr std::uint64_t kFactor = 1032;
    if (!compressed()) return stored_bytes_;
    return std::min(stored_bytes_, std::numeric_limits<std::uint64_t>::max() / kFactor) * kFactor;
  }

 private:
  [[noreturn]] void fail_reading() const {
    int code = Z_OK;
    const char* text = gzerror(file_, &code);
    if (code == Z_ERRNO) fail(std::strerror(errno));
    if (code == Z_BUF_ERROR) fail("truncated: the compressed data stops in the middle");
    std::string_view message = text ? text : "";
    // zlib begins its messages with the path, which ours have already.
    if (const auto colon = message.rfind(": "); colon != std::string_view::npos)
      message.remove_prefix(colon + 2);
    fail(fmt::format("the compressed data is corrupt ({})", message));
  }

  const fs::path& path_;
  gzFile file_ = nullptr;
  std::uint64_t stored_bytes_ = 0;
};

DType element_type(const Reader& reader, std::uint8_t code) {
  switch (code) {
    case 0x08: return uint8;
    case 0x0C: return int32;
    case 0x0D: return float32;
    case 0x0E: return float64;
    case 0x09: reader.fail("IDX elements of type int8 (0x09) are not supported");
    case 0x0B: reader.fail("IDX elements of type int16 (0x0B) are not supported");
    default: reader.fail(fmt::format("0x{:02X} is not an IDX element type", code));
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

}  // namespace

Tensor read_idx(const fs::path& path) {
  Reader reader(path);
  std::array<std::uint8_t, 4> magic{};
  if (const auto got = reader.read(magic.data(), magic.size()); got < magic.size())
    reader.fail(fmt::format("truncated: {} bytes are no IDX header", got));
  if (magic[0] != 0 || magic[1] != 0)
    reader.fail(fmt::format("not an IDX file: it starts with {:02X} {:02X}, not with 00 00",
                            magic[0], magic[1]));
  const DType dtype = element_type(reader, magic[2]);
  const int rank = magic[3];
  if (rank < 1 || rank > Shape::kMaxRank)
    reader.fail(fmt::format("{} dimensions; 1 to {} are supported", rank, Shape::kMaxRank));

  Shape shape;
  std::uint64_t bytes = size_of(dtype);
  bool overflow = false, nothing = false;
  for (int axis = 0; axis < rank; ++axis) {
    std::array<std::uint8_t, 4> field{};
    if (reader.read(field.data(), field.size()) < field.size())
      reader.fail(fmt::format("truncated: the header stops at dimension {} of {}", axis, rank));
    std::uint32_t dim = 0;
    for (const std::uint8_t byte : field) dim = dim << 8U | byte;
    shape.append(dim);
    overflow |= __builtin_mul_overflow(bytes, std::uint64_t{dim}, &bytes);
    nothing |= dim == 0;
  }
  if (nothing) bytes = 0, overflow = false;
  const auto fail_truncated = [&](std::string_view only, std::uint64_t follow) {
    reader.fail(fmt::format("truncated: the header says {}{}, but {} {} bytes follow", dtype,
                            shape, only, follow));
  };
  // Checked before memory is taken, so that a broken header cannot ask for all of it.
  const auto header_bytes = static_cast<std::uint64_t>(4 + 4 * rank);
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
    reader.fail(fmt::format("the header says {}{}, but more than {} bytes follow", dtype, shape,
                            tensor.bytes()));
  to_native(tensor);
  return tensor;
}

}  // namespace gradgraph::data

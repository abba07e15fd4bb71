#include "io/npy/npy_array.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/text.h"

namespace gradgraph {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
/// NumPy itself refuses headers of more than 10,000 characters.
constexpr std::uint64_t kMostHeader = std::uint64_t{1} << 16U;
constexpr bool kLittle = std::endian::native == std::endian::little;

/// A dictionary as Python writes it: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}.
class DictionaryReader {
 public:
  /// `text` begins at byte `offset` of `source`.
  DictionaryReader(const ByteSource& source, std::string_view text, std::uint64_t offset)
      : source_(source), text_(text), offset_(offset) {}

  NpyHeader read() {
    NpyHeader header;
    std::optional<std::string_view> descr;
    std::size_t descr_at = 0;
    bool has_order = false, has_shape = false;
    expect('{');
    while (!take('}')) {
      const std::size_t start = at_;
      const std::string_view key = string();
      expect(':');
      skip_space();
      if (key == "descr" && !descr) {
        descr_at = at_;
        if (at_ < text_.size() && (text_[at_] == '[' || text_[at_] == '('))
          fail(at_, "a structured array, of several fields; save each as an array of its own");
        descr = string();
      } else if (key == "fortran_order" && !has_order) {
        header.fortran_order = boolean();
        has_order = true;
      } else if (key == "shape" && !has_shape) {
        header.shape = shape();
        has_shape = true;
      } else {
        fail(start, fmt::format("the header's key '{}' is unknown or comes twice", key));
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ < text_.size()) fail(at_, "the header goes on after its dictionary");
    if (!descr || !has_order || !has_shape)
      fail(text_.size(), fmt::format("the header says no '{}'", !descr       ? "descr"
                                                                : !has_order ? "fortran_order"
                                                                             : "shape"));
    set_dtype(header, *descr, descr_at);
    return header;
  }

 private:
  [[noreturn]] void fail(std::size_t at, std::string_view fault) const {
    source_.fail_at(offset_ + at, fault);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool take(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c))
      fail(at_, fmt::format("the header is no dictionary of NumPy's: no '{}' here", c));
  }
  std::string_view string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : ' ';
    const std::size_t end =
        quote == '\'' || quote == '"' ? text_.find(quote, at_ + 1) : std::string_view::npos;
    if (end == std::string_view::npos) fail(at_, "the header has no string where one should be");
    const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return inside;
  }
  bool boolean() {
    for (const std::string_view word : {"True", "False"})
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return word == "True";
      }
    fail(at_, "'fortran_order' is neither True nor False");
  }
  Shape shape() {
    Shape shape;
    expect('(');
    while (!take(')')) {
      skip_space();
      std::int64_t extent = 0;
      const char* const begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), extent);
      if (error == std::errc::result_out_of_range)
        fail(at_, "a dimension is more than 64 bits hold");
      if (error != std::errc{} || extent < 0) fail(at_, "a dimension is no number from 0 on");
      if (shape.rank() == Shape::kMaxRank)
        fail(at_, fmt::format("more than {} dimensions", Shape::kMaxRank));
      shape.append(extent);
      at_ += static_cast<std::size_t>(end - begin);
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2's long numbers
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }
  void set_dtype(NpyHeader& header, std::string_view descr, std::size_t at) const {
    struct Kind {
      std::string_view code;
      DType dtype;
    };
    constexpr std::array<Kind, 8> kKinds = {{{"f4", float32},
                                             {"f8", float64},
                                             {"i4", int32},
                                             {"i8", int64},
                                             {"u1", uint8},
                                             {"b1", gradgraph::boolean},
                                             {"f2", float16},
                                             {"V2", bfloat16}}};
    const std::string_view order = descr.substr(0, 1);
    const auto* const kind =
        descr.size() == 3 && std::string_view("<>|=").find(order) != std::string_view::npos
            ? std::find_if(kKinds.begin(), kKinds.end(),
                           [&](const Kind& known) { return known.code == descr.substr(1); })
            : kKinds.end();
    if (kind == kKinds.end())
      fail(at, fmt::format("elements of NumPy's type '{}' cannot be read; convert the array with "
                           "astype, to float32, float64, float16, int32, int64, uint8 or bool",
                           descr));
    header.dtype = kind->dtype;
    if (size_of(kind->dtype) > 1 && order != "=" && order != "|")
      header.foreign_bytes = (order == "<") != kLittle;
  }

  const ByteSource& source_;
  const std::string_view text_;
  const std::uint64_t offset_;
  std::size_t at_ = 0;
};

std::uint64_t little_endian(std::span<const unsigned char> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8U | bytes[i];
  return value;
}

void reverse_bytes(Tensor& tensor) {
  auto* bytes = static_cast<char*>(tensor.raw());
  const std::size_t size = size_of(tensor.dtype());
  for (std::size_t i = 0; i < tensor.bytes(); i += size)
    std::reverse(bytes + i, bytes + i + size);
}

Tensor allocated(const ByteSource& source, const NpyHeader& header, const Shape& shape) {
  try {
    return Tensor(header.dtype, shape, {});
  } catch (const RunError& error) {
    source.fail_at(header.data_offset, error.what());
  }
}

/// The elements of a tensor whose first axis runs fastest, with the last one running fastest.
Tensor from_fortran_order(const ByteSource& source, const NpyHeader& header, const Tensor& from) {
  Tensor to = allocated(source, header, header.shape);
  const std::size_t size = size_of(header.dtype);
  const int rank = header.shape.rank();
  std::array<std::int64_t, Shape::kMaxRank> index{}, stride{};
  std::int64_t step = 1;
  for (int axis = 0; axis < rank; ++axis) {
    stride[static_cast<std::size_t>(axis)] = step;
    step *= header.shape[axis];
  }
  const auto* const in = static_cast<const std::byte*>(from.raw());
  auto* out = static_cast<std::byte*>(to.raw());
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < to.num_elements(); ++i, out += size) {
    std::memcpy(out, in + static_cast<std::size_t>(at) * size, size);
    for (int axis = rank - 1; axis >= 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      at += stride[a];
      if (++index[a] < header.shape[axis]) break;
      at -= stride[a] * index[a];
      index[a] = 0;
    }
  }
  return to;
}

}  // namespace

NpyHeader read_npy_header(ByteSource& source) {
  std::array<unsigned char, 12> start{};
  const std::size_t got = source.read(start.data(), 8);
  if (std::memcmp(start.data(), kMagic.data(), std::min(got, kMagic.size())) != 0)
    source.fail_at(0, "not an array of NumPy's: it does not start with \\x93NUMPY");
  if (got < 8) source.fail_at(got, fmt::format("truncated: {} bytes are no array", got));
  const int version = start[6];
  if (version < 1 || version > 3 || start[7] != 0)
    source.fail_at(6, fmt::format("version {}.{} of NumPy's format; 1.0, 2.0 and 3.0 can be read",
                                  version, start[7]));
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  if (source.read(start.data() + 8, length_bytes) < length_bytes)
    source.fail_at(8, "truncated: the file ends in the header");
  const std::uint64_t length = little_endian(std::span(start).subspan(8, length_bytes));
  const std::uint64_t text_at = 8 + length_bytes;
  const std::uint64_t most = source.most_bytes();
  if (length > most - std::min(most, text_at) || length > kMostHeader)
    source.fail_at(8, fmt::format("the header says that it has {} bytes", length));
  std::string text(length, '\0');
  if (const std::size_t read = source.read(text.data(), text.size()); read < length)
    source.fail_at(text_at + read, "truncated: the file ends in the header");

  NpyHeader header = DictionaryReader(source, text, text_at).read();
  header.data_offset = text_at + length;
  std::uint64_t bytes = size_of(header.dtype);
  bool overflow = false, nothing = false;
  for (const std::int64_t extent : header.shape) {
    overflow |= __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes);
    nothing |= extent == 0;
  }
  if (nothing) bytes = 0, overflow = false;
  header.data_bytes = bytes;
  // Checked before memory is taken, so that a broken header cannot ask for all of it.
  if (overflow || bytes > most - std::min(most, header.data_offset))
    source.fail_at(text_at, fmt::format("truncated: the header says {}{}, but at most {} bytes "
                                        "follow",
                                        header.dtype, header.shape,
                                        most - std::min(most, header.data_offset)));
  return header;
}

Tensor read_npy_array(ByteSource& source) {
  const NpyHeader header = read_npy_header(source);
  const bool is_turned = header.fortran_order && header.shape.rank() > 1;
  Tensor tensor = allocated(source, header, header.shape);
  if (const auto got = source.read(tensor.raw(), tensor.bytes()); got < tensor.bytes())
    source.fail_at(header.data_offset + got,
                   fmt::format("truncated: the header says {}{}, but only {} bytes follow",
                               header.dtype, header.shape, got));
  // Reading past the end also makes what is compressed check its sum.
  if (char extra = 0; source.read(&extra, 1) != 0)
    source.fail_at(header.data_offset + tensor.bytes(),
                   fmt::format("the header says {}{}, but more than {} bytes follow",
                               header.dtype, header.shape, tensor.bytes()));
  check_booleans(source, header, tensor.raw());
  if (header.foreign_bytes) reverse_bytes(tensor);
  return is_turned ? from_fortran_order(source, header, tensor) : tensor;
}

void check_booleans(const ByteSource& source, const NpyHeader& header, const void* data) {
  if (header.dtype != boolean) return;
  const std::span bytes(static_cast<const unsigned char*>(data), header.data_bytes);
  const auto bad =
      std::find_if(bytes.begin(), bytes.end(), [](unsigned char byte) { return byte > 1; });
  if (bad != bytes.end())
    source.fail_at(header.data_offset + static_cast<std::uint64_t>(bad - bytes.begin()),
                   fmt::format("{} is no boolean, which is 0 or 1", *bad));
}

std::string npy_header(const Tensor& tensor) {
  constexpr std::size_t kMultiple = 64;
  const auto code = [&]() -> std::string_view {
    switch (tensor.dtype()) {
      case DType::float32: return "f4";
      case DType::float64: return "f8";
      case DType::int32: return "i4";
      case DType::int64: return "i8";
      case DType::uint8: return "u1";
      case DType::boolean: return "b1";
      case DType::float16: return "f2";
      case DType::bfloat16: return "V2";
    }
    __builtin_unreachable();
  }();
  const char order = size_of(tensor.dtype()) == 1 ? '|' : kLittle ? '<' : '>';
  std::string text =
      fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': (", order, code);
  for (int axis = 0; axis < tensor.shape().rank(); ++axis)
    text += fmt::format("{}{}", axis > 0 ? ", " : "", tensor.shape()[axis]);
  text += tensor.shape().rank() == 1 ? ",), }" : "), }";
  constexpr std::size_t kStart = 10;
  const std::size_t total = (kStart + text.size() + kMultiple) / kMultiple * kMultiple;
  text.resize(total - kStart - 1, ' ');
  text += '\n';
  std::string header(kMagic);
  header +=
      {'\1', '\0', static_cast<char>(text.size() & 0xFFU), static_cast<char>(text.size() >> 8U)};
  return header + text;
}

}  // namespace gradgraph

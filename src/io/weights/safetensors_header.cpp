#include "io/weights/safetensors_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "core/text.h"

namespace gradgraph {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "stored numbers are little-endian");

/// As the format's own library has it.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kSizeBytes = sizeof(std::uint64_t);
constexpr std::string_view kMetadata = "__metadata__";

struct KnownDType {
  std::string_view name;
  std::uint64_t size;  ///< bytes
  std::optional<DType> dtype;
};
constexpr std::array<KnownDType, 16> kDTypeNames = {{
    {"F64", 8, float64},
    {"F32", 4, float32},
    {"F16", 2, float16},
    {"BF16", 2, bfloat16},
    {"I64", 8, int64},
    {"I32", 4, int32},
    {"U8", 1, uint8},
    {"BOOL", 1, boolean},
    {"I16", 2, std::nullopt},
    {"I8", 1, std::nullopt},
    {"U16", 2, std::nullopt},
    {"U32", 4, std::nullopt},
    {"U64", 8, std::nullopt},
    {"C64", 8, std::nullopt},
    {"F8_E4M3", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt},
}};

/// The parser's way through a text, which says how far it came.
struct CountedIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  const char** farthest = nullptr;

  const char& operator*() const { return *at; }
  CountedIterator& operator++() {
    *farthest = ++at;
    return *this;
  }
  bool operator==(const CountedIterator& other) const { return at == other.at; }
  bool operator!=(const CountedIterator& other) const { return at != other.at; }
};

/// Takes the header apart while it is parsed, so that nothing but what belongs there is kept.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(std::span<const std::byte> file, const std::string& path)
      : path_(path), begin_(reinterpret_cast<const char*>(file.data())), farthest_(begin_) {
    if (file.size() < kSizeBytes)
      fail(0, fmt::format("{} bytes are no safetensors file", file.size()));
    std::uint64_t size = 0;
    std::memcpy(&size, file.data(), kSizeBytes);
    if (size > file.size() - kSizeBytes)
      fail(0, fmt::format("a header of {} bytes, but only {} follow: the file is cut, or no "
                          "safetensors file",
                          size, file.size() - kSizeBytes));
    if (size > kMaxHeaderBytes)
      fail(0, fmt::format("a header of {} bytes; {} are the most", size, kMaxHeaderBytes));
    header_.data_begin = kSizeBytes + static_cast<std::size_t>(size);
    data_bytes_ = file.size() - header_.data_begin;
    if (size == 0 || begin_[kSizeBytes] != '{') fail(kSizeBytes, "the header is no JSON object");
    Json::sax_parse(CountedIterator{begin_ + kSizeBytes, &farthest_},
                    CountedIterator{begin_ + header_.data_begin, &farthest_}, this);
    check_layout();
  }
  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_integer(number_integer_t) override { refuse("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override {
    refuse("the number " + text);
  }
  bool binary(binary_t&) override { refuse("bytes"); }

  bool number_unsigned(number_unsigned_t number) override {
    if (place_ == Place::dims)
      add_dim(number);
    else if (place_ == Place::offsets && offsets_.size() < 2)
      offsets_.push_back(number);
    else
      refuse(fmt::format("the number {}", number));
    return true;
  }
  bool string(string_t& text) override {
    if (place_ == Place::metadata)
      header_.metadata[field_] = text;
    else if (place_ == Place::tensor && field_ == "dtype")
      set_dtype(text);
    else
      refuse("a string");
    return true;
  }
  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::file;
    } else if (place_ == Place::file) {
      place_ = tensor_.name == kMetadata ? Place::metadata : Place::tensor;
      fields_.clear();
    } else {
      refuse("an object");
    }
    return true;
  }
  bool key(string_t& text) override {
    if (place_ == Place::file) {
      if (!names_.insert(text).second) fail_here("the name appears twice", text);
      tensor_ = {.name = text};
      offsets_.clear();
      return true;
    }
    if (!fields_.insert(text).second) refuse(fmt::format("'{}' twice", text));
    if (place_ == Place::tensor && text != "dtype" && text != "shape" && text != "data_offsets")
      refuse(fmt::format("'{}'", text));
    field_ = text;
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) add_tensor();
    place_ = place_ == Place::file ? Place::outside : Place::file;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ == Place::tensor && field_ == "shape")
      place_ = Place::dims;
    else if (place_ == Place::tensor && field_ == "data_offsets")
      place_ = Place::offsets;
    else
      refuse("a list");
    return true;
  }
  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    std::string_view text = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 3: what was wrong"
    if (const auto colon = text.find(": "); colon != std::string_view::npos)
      text.remove_prefix(colon + 2);
    fail(kSizeBytes + position, fmt::format("the header is no JSON: {}", text));
  }

 private:
  enum class Place : std::uint8_t { outside, file, metadata, tensor, dims, offsets };

  [[noreturn]] void fail(std::size_t byte, const std::string& fault) const {
    throw DataError(fmt::format("{}: at byte {}: {}", path_, byte, fault));
  }
  [[noreturn]] void fail_here(const std::string& fault, const std::string& name) const {
    fail(static_cast<std::size_t>(farthest_ - begin_), fmt::format("'{}': {}", name, fault));
  }
  [[noreturn]] void refuse(const std::string& what) const {
    fail_here(fmt::format("the header has {} where it has no place", what), tensor_.name);
  }

  void set_dtype(const std::string& name) {
    const auto* known = std::ranges::find(kDTypeNames, name, &KnownDType::name);
    if (known == kDTypeNames.end())
      fail_here(fmt::format("unknown dtype '{}'", name), tensor_.name);
    tensor_.dtype_name = name;
    tensor_.dtype = known->dtype;
    size_ = known->size;
  }

  void add_dim(std::uint64_t dim) {
    if (dim > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail_here(fmt::format("an axis of {} elements", dim), tensor_.name);
    if (tensor_.shape.rank() == Shape::kMaxRank)
      fail_here(fmt::format("more than {} axes", Shape::kMaxRank), tensor_.name);
    tensor_.shape.append(static_cast<std::int64_t>(dim));
  }

  void add_tensor() {
    for (const char* field : {"dtype", "shape", "data_offsets"})
      if (!fields_.contains(field)) fail_here(fmt::format("has no {}", field), tensor_.name);
    if (offsets_.size() != 2) fail_here("data_offsets are not two", tensor_.name);
    std::uint64_t bytes = size_;
    bool overflow = false, nothing = false;
    for (const std::int64_t dim : tensor_.shape) {
      overflow |= __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dim), &bytes);
      nothing |= dim == 0;
    }
    if (nothing) bytes = 0;
    if (overflow && !nothing)
      fail_here(
          fmt::format("{}{} is more than any file holds", tensor_.dtype_name, tensor_.shape),
          tensor_.name);
    if (offsets_[0] > offsets_[1] || offsets_[1] > data_bytes_)
      fail_here(fmt::format("is at {} to {} of {} bytes of data", offsets_[0], offsets_[1],
                            data_bytes_),
                tensor_.name);
    if (offsets_[1] - offsets_[0] != bytes)
      fail_here(fmt::format("{}{} takes {} bytes, but data_offsets give it {}",
                            tensor_.dtype_name, tensor_.shape, bytes, offsets_[1] - offsets_[0]),
                tensor_.name);
    tensor_.begin = header_.data_begin + static_cast<std::size_t>(offsets_[0]);
    tensor_.bytes = static_cast<std::size_t>(bytes);
    header_.tensors.push_back(std::move(tensor_));
  }

  /// Each tensor begins where the one before it ends, and the last ends with the file.
  void check_layout() {
    std::ranges::sort(header_.tensors, {}, [](const StoredTensor& tensor) {
      return std::pair(tensor.begin, tensor.bytes);
    });
    std::size_t end = header_.data_begin;
    for (const StoredTensor& tensor : header_.tensors) {
      if (tensor.begin < end)
        fail(tensor.begin, fmt::format("'{}' overlaps the tensor before it", tensor.name));
      if (tensor.begin > end)
        fail(end, fmt::format("{} bytes before '{}' belong to no tensor", tensor.begin - end,
                              tensor.name));
      end = tensor.begin + tensor.bytes;
    }
    if (const std::size_t rest = header_.data_begin + data_bytes_ - end; rest > 0)
      fail(end, fmt::format("the last {} bytes belong to no tensor", rest));
  }

  const std::string& path_;
  const char* begin_;
  const char* farthest_;  // that the parser read
  std::uint64_t data_bytes_ = 0;
  SafetensorsHeader header_;
  Place place_ = Place::outside;
  std::set<std::string> names_, fields_;
  std::string field_;
  StoredTensor tensor_;
  std::uint64_t size_ = 0;
  std::vector<std::uint64_t> offsets_;
};

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& path) {
  return HeaderReader(file, path).take();
}

std::string make_safetensors_header(std::vector<StoredTensor>& tensors,
                                    const std::map<std::string, std::string>& metadata,
                                    SourceLocation where) {
  Json json = Json::object();
  if (!metadata.empty()) json[std::string(kMetadata)] = metadata;
  std::size_t end = 0;
  for (StoredTensor& tensor : tensors) {
    const auto& dims = tensor.shape.dims();
    tensor.begin = end;
    end += tensor.bytes;
    json[tensor.name] = {{"dtype", tensor.dtype_name},
                         {"shape", std::vector<std::int64_t>(dims.begin(), dims.end())},
                         {"data_offsets", {tensor.begin, end}}};
  }
  std::string text;
  try {
    text = json.dump();
  } catch (const nlohmann::json::exception&) {
    throw BuildError("a tensor's name or a text of the metadata is no UTF-8", where);
  }
  // The data begins where memory that a page begins with is aligned for all that reads it.
  const std::size_t unit = 64, bytes = kSizeBytes + text.size();
  text.append((unit - bytes % unit) % unit, ' ');
  const std::uint64_t size = text.size();
  for (StoredTensor& tensor : tensors) tensor.begin += kSizeBytes + text.size();
  std::string header(kSizeBytes, '\0');
  std::memcpy(header.data(), &size, kSizeBytes);
  return header + text;
}

std::string safetensors_name(DType dtype) {
  const auto* known = std::ranges::find(kDTypeNames, dtype, &KnownDType::dtype);
  return std::string(known->name);
}

}  // namespace gradgraph

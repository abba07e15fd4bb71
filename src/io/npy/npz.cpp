#include <zip.h>

#include <algorithm>
#include <memory>
#include <set>

#include "core/text.h"
#include "gradgraph/npy.h"
#include "io/files/at_line.h"
#include "io/files/input_file.h"
#include "io/npy/npy_array.h"

namespace gradgraph {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".npy";
constexpr std::uint64_t kFactor = 1032;  // no deflate stream shrinks by more

std::string text_of(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

/// A member of an archive while it is decompressed.
class Member final : public ByteSource {
 public:
  Member(const fs::path& path, std::string name, zip_t* archive, std::uint64_t index,
         std::uint64_t most)
      : path_(path), name_(std::move(name)), most_(most) {
    file_ = zip_fopen_index(archive, index, 0);
    if (!file_) fail(zip_strerror(archive));
  }
  ~Member() override {
    if (file_) zip_fclose(file_);
  }

  std::size_t read(void* to, std::size_t bytes) override {
    std::size_t done = 0;
    while (done < bytes) {
      const zip_int64_t got = zip_fread(file_, static_cast<char*>(to) + done, bytes - done);
      if (got < 0) fail(zip_file_strerror(file_));
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }
  std::uint64_t most_bytes() override { return most_; }
  [[noreturn]] void fail(std::string_view fault) const {
    fail_file(path_, fmt::format("array '{}': {}", name_, fault));
  }

 private:
  std::string message_at(std::uint64_t offset, std::string_view fault) const override {
    return fmt::format("{}: array '{}': {} (at byte {} of the array)", path_.string(), name_,
                       fault, offset);
  }

  const fs::path& path_;
  const std::string name_;
  const std::uint64_t most_;
  zip_file_t* file_ = nullptr;
};

struct Closing {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
using Archive = std::unique_ptr<zip_t, Closing>;

Archive opened(const fs::path& path, int flags) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), flags, &code));
  if (!archive)
    fail_file(path, code == ZIP_ER_EXISTS  ? "two arrays have one name"
                    : code == ZIP_ER_NOZIP ? "no zip archive, or one whose end is cut off"
                                           : text_of(code));
  return archive;
}

std::vector<NamedTensor> arrays_of(const fs::path& path) {
  const std::uint64_t size = size_of_file(path);
  if (size == 0) fail_file(path, "truncated: an empty file is no zip file (at byte 0)");
  const Archive archive = opened(path, ZIP_RDONLY | ZIP_CHECKCONS);
  std::vector<NamedTensor> arrays;
  std::uint64_t left = size;
  const auto count = static_cast<std::uint64_t>(zip_get_num_entries(archive.get(), 0));
  for (std::uint64_t i = 0; i < count; ++i) {
    zip_stat_t about;
    const zip_uint64_t wanted =
        ZIP_STAT_NAME | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(archive.get(), i, 0, &about) != 0 || (about.valid & wanted) != wanted)
      fail_file(path, fmt::format("member {}: {}", i, zip_strerror(archive.get())));
    std::string name = about.name;
    const auto fail = [&](std::string_view fault) {
      fail_file(path, fmt::format("member '{}': {}", name, fault));
    };
    if (!name.ends_with(kSuffix) || name.size() == kSuffix.size())
      fail("is no array; names of arrays end in .npy");
    if (about.comp_method != ZIP_CM_STORE && about.comp_method != ZIP_CM_DEFLATE)
      fail(fmt::format("is compressed by zip's method {}; only deflate can be read",
                       about.comp_method));
    if (about.encryption_method != ZIP_EM_NONE) fail("is encrypted");
    // Members that share their bytes would together be larger than the file lets on.
    if (about.comp_size > left)
      fail("its bytes are not in the file, or are another member's too");
    left -= about.comp_size;
    name.resize(name.size() - kSuffix.size());
    const std::uint64_t most =
        about.comp_method == ZIP_CM_STORE ? about.comp_size : about.comp_size * kFactor;
    Member member(path, name, archive.get(), i, most);
    Tensor tensor = read_npy_array(member);
    arrays.push_back({std::move(name), std::move(tensor)});
  }
  return arrays;
}

/// Their .npy headers are at hand.
void write_arrays(const fs::path& path, const std::vector<NamedTensor>& arrays,
                  const std::vector<std::string>& headers, bool compressed) {
  Archive archive = opened(path, ZIP_CREATE | ZIP_TRUNCATE);
  const auto fail = [&] {
    fail_file(path, fmt::format("cannot be written: {}", zip_strerror(archive.get())));
  };
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const auto& [name, tensor] = arrays[i];
    // libzip takes memory that it only reads without const.
    const auto bytes = [](const void* data) {
      return static_cast<zip_uint8_t*>(const_cast<void*>(data));
    };
    const zip_buffer_fragment_t parts[] = {{bytes(headers[i].data()), headers[i].size()},
                                           {bytes(tensor.raw()), tensor.bytes()}};
    zip_source_t* const source = zip_source_buffer_fragment(archive.get(), parts, 2, 0);
    if (!source) fail();
    const zip_int64_t index = zip_file_add(archive.get(), (name + std::string(kSuffix)).c_str(),
                                           source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail();
    }
    const auto at = static_cast<zip_uint64_t>(index);
    // The first day that zip knows, so that the same arrays give the same bytes.
    constexpr zip_uint16_t kFirstDay = 1U << 5U | 1U;
    if (zip_set_file_compression(archive.get(), at, compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE,
                                 0) != 0 ||
        zip_file_set_dostime(archive.get(), at, 0, kFirstDay, 0) != 0)
      fail();
  }
  if (zip_close(archive.get()) != 0) fail();
  static_cast<void>(archive.release());
}

}  // namespace

std::vector<NamedTensor> read_npz(const fs::path& path, SourceLocation where) {
  return at_line(where, [&] { return arrays_of(path); });
}

void write_npz(const fs::path& path, const std::vector<NamedTensor>& arrays,
               const NpzOptions& options, SourceLocation where) {
  // Nor does libzip write an archive without members.
  if (arrays.empty()) throw BuildError("write_npz: there is no array to write", where);
  std::set<std::string_view> names;
  std::vector<std::string> headers;
  for (const auto& [name, tensor] : arrays) {
    if (name.empty() || name.find('\0') != std::string::npos)
      throw BuildError("write_npz: an array's name is empty or has a zero byte", where);
    if (!names.insert(name).second)
      throw BuildError(fmt::format("write_npz: two arrays are called '{}'", name), where);
    if (!tensor)
      throw BuildError(fmt::format("write_npz: the tensor '{}' is empty", name), where);
    headers.push_back(npy_header(tensor));
  }
  at_line(where, [&] { write_arrays(path, arrays, headers, options.compressed); });
}

}  // namespace gradgraph

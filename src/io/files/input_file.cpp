#include "io/files/input_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "core/text.h"

namespace gradgraph {

namespace fs = std::filesystem;

void fail_file(const fs::path& path, std::string_view fault) {
  throw DataError(fmt::format("{}: {}", path.string(), fault));
}

std::uint64_t size_of_file(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) fail_file(path, "no such file");
  if (error) fail_file(path, error.message());
  if (!fs::is_regular_file(status)) fail_file(path, "not a regular file");
  const std::uint64_t size = fs::file_size(path, error);
  if (error) fail_file(path, error.message());
  return size;
}

InputFile::InputFile(fs::path path) : path_(std::move(path)), stored_bytes_(size_of_file(path_)) {
  errno = 0;
  file_ = gzopen(path_.c_str(), "rb");
  if (!file_) fail(errno != 0 ? std::strerror(errno) : "out of memory");
  gzbuffer(file_, 1U << 18U);
}

InputFile::~InputFile() {
  if (file_) gzclose(file_);
}

std::size_t InputFile::read(void* to, std::size_t bytes) {
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

std::string InputFile::read_all() {
  constexpr std::size_t kFirst = std::size_t{1} << 16U;
  std::string text;
  for (std::size_t size = kFirst;; size *= 2) {
    const std::size_t before = text.size();
    text.resize(compressed() ? size : std::max<std::size_t>(stored_bytes_, before) + 1);
    const std::size_t got = read(text.data() + before, text.size() - before);
    if (before + got == text.size()) continue;
    text.resize(before + got);
    return text;
  }
}

bool InputFile::compressed() { return gzdirect(file_) == 0; }

std::uint64_t InputFile::most_bytes() {
  constexpr std::uint64_t kFactor = 1032;  // no deflate stream shrinks by more
  if (!compressed()) return stored_bytes_;
  return std::min(stored_bytes_, std::numeric_limits<std::uint64_t>::max() / kFactor) * kFactor;
}

std::string InputFile::message_at(std::uint64_t offset, std::string_view fault) const {
  return fmt::format("{}: {} (at byte {})", path_.string(), fault, offset);
}

void InputFile::fail_reading() const {
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

}  // namespace gradgraph

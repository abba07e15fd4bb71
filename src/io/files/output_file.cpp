#include "io/files/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/text.h"

namespace gradgraph {

namespace fs = std::filesystem;

void fail_system(const fs::path& path, std::string what, int code) {
  throw DataError(fmt::format("{}: {}: {}", path.string(), what, std::strerror(code)));
}

OutputFile::OutputFile(fs::path path) : path_(std::move(path)) {
  temporary_ = fmt::format("{}.{}.tmp", path_.string(), getpid());
  descriptor_ =
      open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor_ < 0) fail();
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void OutputFile::fail() const { fail_system(path_, "cannot be written", errno); }

void OutputFile::write(const void* data, std::size_t bytes) {
  constexpr std::size_t kMostAtOnce = std::size_t{1} << 30U;
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(descriptor_, from, std::min(bytes, kMostAtOnce));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail();
    from += done;
    bytes -= static_cast<std::size_t>(done);
  }
}

void OutputFile::commit() {
  if (fsync(descriptor_) != 0) fail();
  if (close(std::exchange(descriptor_, -1)) != 0) fail();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail();
  temporary_.clear();
  synchronize_folder(path_.parent_path());
}

void synchronize_folder(const fs::path& folder) {
  const fs::path path = folder.empty() ? fs::path(".") : folder;
  const int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_system(path, "cannot be opened", errno);
  const int result = fsync(descriptor), code = errno;
  close(descriptor);
  if (result != 0) fail_system(path, "cannot be brought to the disk", code);
}

}  // namespace gradgraph

#include "io/files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "core/text.h"
#include "io/files/output_file.h"

namespace gradgraph {

MappedFile::MappedFile(const std::filesystem::path& path) {
  // Not to wait for whoever writes to a pipe.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    if (errno == ENOENT) throw DataError(fmt::format("{}: no such file", path.string()));
    fail_system(path, "cannot be opened", errno);
  }
  struct stat status {};
  const bool known = fstat(descriptor, &status) == 0;
  int code = known ? 0 : errno;
  const bool is_file = known && S_ISREG(status.st_mode);
  if (is_file && status.st_size > 0) {
    bytes_ = static_cast<std::size_t>(status.st_size);
    memory_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (memory_ == MAP_FAILED) code = errno, memory_ = nullptr;
  }
  close(descriptor);
  if (code != 0) fail_system(path, "cannot be read", code);
  if (!is_file) throw DataError(fmt::format("{}: not a regular file", path.string()));
}

MappedFile::~MappedFile() {
  if (memory_) munmap(memory_, bytes_);
}

}  // namespace gradgraph

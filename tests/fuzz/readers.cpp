#include "fuzz/readers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "gradgraph/error.h"
#include "gradgraph/weights.h"
#include "io/checkpoint/manifest.h"
#include "io/files/mapped_file.h"

namespace gradgraph::tests {
namespace {

constexpr FuzzedReader kReaders[] = {
    {"manifest",
     [](const std::filesystem::path& path) {
       const MappedFile file(path);
       const auto bytes = file.bytes();
       parse_manifest({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
     }},
    {"safetensors", [](const std::filesystem::path& path) { read_safetensors(path); }},
};

}  // namespace

std::span<const FuzzedReader> fuzzed_readers() { return kReaders; }

void read_bytes(const FuzzedReader& reader, const std::uint8_t* bytes, std::size_t size) {
  const int file = memfd_create(reader.name, MFD_CLOEXEC);
  if (file < 0 || write(file, bytes, size) != static_cast<ssize_t>(size))
    throw std::runtime_error("no memory for a file");
  try {
    reader.read("/proc/self/fd/" + std::to_string(file));
  } catch (const DataError&) {
    // It says what is wrong.
  } catch (...) {
    close(file);
    throw;
  }
  close(file);
}

}  // namespace gradgraph::tests

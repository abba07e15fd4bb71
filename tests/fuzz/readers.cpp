#include "fuzz/readers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "gradgraph/data.h"
#include "gradgraph/error.h"
#include "gradgraph/npy.h"
#include "gradgraph/weights.h"
#include "io/checkpoint/manifest.h"
#include "io/files/mapped_file.h"
#include "temporary_directory.h"

namespace gradgraph::tests {
namespace {

namespace fs = std::filesystem;

/// A folder whose files are all this one.
void read_cifar(const fs::path& path) {
  const TemporaryDirectory folder;
  for (const char* const name : {"train.bin", "test.bin"})
    fs::create_symlink(path, folder / name);
  data::read_cifar100(folder.path());
}

constexpr FuzzedReader kReaders[] = {
    {"cifar", read_cifar},
    {"csv", [](const fs::path& path) { data::read_csv(path); }},
    {"filled_csv",
     [](const fs::path& path) {
       data::read_csv(path, {.header = false, .fill = 0, .fill_class = "none"});
     }},
    {"idx", [](const fs::path& path) { data::read_idx(path); }},
    {"image", [](const fs::path& path) { data::read_image(path, {.height = 3, .width = 5}); }},
    {"manifest",
     [](const fs::path& path) {
       const MappedFile file(path);
       const auto bytes = file.bytes();
       parse_manifest({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
     }},
    {"mapped_npy", [](const fs::path& path) { map_npy(path); }},
    {"npy", [](const fs::path& path) { read_npy(path); }},
    {"npz", [](const fs::path& path) { read_npz(path); }},
    {"safetensors", [](const fs::path& path) { read_safetensors(path); }},
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

// The readers read all that fuzzing them found worth keeping: tests/fuzz/meson.build says how it
// is done.

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "fuzz/readers.h"
#include "tests_folder.h"

namespace gradgraph::tests {

TEST_CASE("readers refuse what fuzzing found, or read it") {
  for (const FuzzedReader& reader : fuzzed_readers()) {
    CAPTURE(reader.name);
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(
             std::filesystem::path(GRADGRAPH_TESTS_FOLDER "/fuzz/corpus") / reader.name)) {
      CAPTURE(entry.path().string());
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      CHECK_NOTHROW(
          read_bytes(reader, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
      ++files;
    }
    CHECK(files >= 5);
  }
}

}  // namespace gradgraph::tests

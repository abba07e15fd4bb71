#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gradgraph/error.h"
#include "gradgraph/npy.h"
#include "messages.h"
#include "temporary_directory.h"

using namespace gradgraph;
using gradgraph::tests::contains;
using gradgraph::tests::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

fs::path write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}
std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// An array with this header, of version 1.0, and these elements.
std::string npy(const std::string& dictionary, const std::string& elements) {
  const std::string text = dictionary + "\n";
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(text.size() & 0xFFU) +
         static_cast<char>(text.size() >> 8U) + text + elements;
}
std::string header(const std::string& descr, const std::string& shape,
                   const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
}

template <class Body>
std::string fault(const Body& body) {
  return tests::message_of<DataError>(body);
}
bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

/// One of every dtype and rank, as named arrays.
std::vector<NamedTensor> samples() {
  std::vector<NamedTensor> arrays;
  int rank = 0;
  for (const DType dtype :
       {float32, float64, int32, int64, uint8, gradgraph::boolean, float16, bfloat16}) {
    Shape shape;
    for (int axis = 0; axis < rank; ++axis) shape.append(axis % 3 + 1);
    Tensor tensor(dtype, shape);
    for (std::size_t i = 0; i < tensor.bytes(); ++i)
      static_cast<unsigned char*>(tensor.raw())[i] =
          static_cast<unsigned char>(dtype == gradgraph::boolean ? i % 2 : i * 37 + 1);
    arrays.push_back({"layer/" + std::string(name(dtype)), tensor});
    rank = rank % 8 + 1;
  }
  arrays.push_back({"nothing", Tensor(float32, {2, 0, 3})});
  return arrays;
}

}  // namespace

TEST_CASE("what write_npy and write_npz write, they read back") {
  const TemporaryDirectory directory;
  const std::vector<NamedTensor> arrays = samples();
  for (const NamedTensor& array : arrays) {
    const Tensor& tensor = array.value;
    CAPTURE(array.name);
    const fs::path path = directory / "a.npy";
    write_npy(path, tensor);
    CHECK(same(read_npy(path), tensor));
    CHECK(same(map_npy(path), tensor));
  }
  std::string sizes;
  for (const bool compressed : {false, true}) {
    const fs::path path = directory / "a.npz", again = directory / "b.npz";
    write_npz(path, arrays, {.compressed = compressed});
    const std::vector<NamedTensor> read = read_npz(path);
    REQUIRE(read.size() == arrays.size());
    for (std::size_t i = 0; i < read.size(); ++i) {
      CHECK(read[i].name == arrays[i].name);
      CHECK(same(read[i].value, arrays[i].value));
    }
    write_npz(again, arrays, {.compressed = compressed});
    CHECK(contents(path) == contents(again));
  }
  // Nothing is left beside them.
  CHECK(std::distance(fs::directory_iterator(directory.path()), {}) == 3);
}

TEST_CASE("a mapped array's changes stay in the process") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "a.npy";
  write_npy(path, Tensor{1.f, 2.f, 3.f});
  Tensor mapped = map_npy(path);
  mapped.data<float>()[1] = 9;
  CHECK(mapped.to_string() == "float32[3] [1, 9, 3]");
  CHECK(read_npy(path).to_string() == "float32[3] [1, 2, 3]");
}

TEST_CASE("arrays in Fortran order and of other machines are read") {
  const TemporaryDirectory directory;
  const auto read = [&](const std::string& bytes) {
    return read_npy(write(directory / "a.npy", bytes)).to_string();
  };
  CHECK(read(npy(header("|u1", "(2, 3)", "True"), {1, 4, 2, 5, 3, 6})) ==
        "uint8[2,3] [[1, 2, 3], [4, 5, 6]]");
  CHECK(read(npy(header("|u1", "(2, 1, 2)", "True"), {1, 3, 2, 4})) ==
        "uint8[2,1,2] [[[1, 2]], [[3, 4]]]");
  CHECK(read(npy(header(">i4", "(2,)"), {0, 0, 1, 2, -1, -1, -1, -2})) == "int32[2] [258, -2]");
  CHECK(read(npy(header("<i4", "(2,)"), {2, 1, 0, 0, -2, -1, -1, -1})) == "int32[2] [258, -2]");
  CHECK(read(npy(header("|b1", "(2,)"), {0, 1})) == "bool[2] [false, true]");
  CHECK(read(npy(header("|u1", "()"), {7})) == "uint8[] 7");
  CHECK(read(npy("{\"shape\":(3L,),\"descr\":\"|u1\",\"fortran_order\":True}", {1, 2, 3})) ==
        "uint8[3] [1, 2, 3]");
  std::string second = npy(header("|u1", "(1,)"), {5});
  second[6] = 2;
  second.insert(10, std::string(2, '\0'));
  CHECK(read(second) == "uint8[1] [5]");
  CHECK(contains(fault([&] { map_npy(write(directory / "a.npy", second)); }),
                 "is no multiple of 64, and cannot be mapped; read_npy reads it"));
}

TEST_CASE("a broken array is refused with file, fault and offset") {
  const TemporaryDirectory directory;
  const std::string good = npy(header("<f4", "(2,)"), std::string(8, 'x'));
  const auto with = [&](std::size_t at, char c) {
    std::string bytes = good;
    bytes[at] = c;
    return bytes;
  };
  struct Row {
    std::string bytes, fault;
  };
  const std::vector<Row> rows = {
      {"", "truncated: 0 bytes are no array (at byte 0)"},
      {good.substr(0, 7), "truncated: 7 bytes are no array (at byte 7)"},
      {"PK\3\4" + good, "not an array of NumPy's: it does not start with \\x93NUMPY (at byte 0)"},
      {with(6, 4), "version 4.0 of NumPy's format"},
      {good.substr(0, 9), "truncated: the file ends in the header (at byte 8)"},
      {with(9, '\x7F'), "the header says that it has"},
      {good.substr(0, 30), "the header says that it has"},
      {good.substr(0, good.size() - 1), "truncated: the header says float32[2], but at most 7"},
      {good + "y", "the header says float32[2], but more than 8 bytes follow"},
      {npy("[1]", ""), "the header is no dictionary of NumPy's: no '{' here (at byte 10)"},
      {npy("{}", ""), "the header says no 'descr'"},
      {npy("{'descr': '<f4'}", ""), "the header says no 'fortran_order'"},
      {npy("{'descr': '<f4', 'descr': '<f4'}", ""),
       "the header's key 'descr' is unknown or comes twice (at byte 27)"},
      {npy("{'fields': 1}", ""), "the header's key 'fields' is unknown"},
      {npy("{'descr", ""), "no string where one should be"},
      {npy(header("<f4", "(2,)") + "!", ""), "the header goes on after its dictionary"},
      {npy(header("<f4", "(2, x)"), ""), "a dimension is no number from 0 on"},
      {npy(header("<f4", "(-1,)"), ""), "a dimension is no number from 0 on"},
      {npy(header("<f4", "(2}"), ""), "no ')' here"},
      {npy(header("<f4", "(2,)", "0"), ""), "'fortran_order' is neither True nor False"},
      {npy(header("<f4", "(1,1,1,1,1,1,1,1,1)"), ""), "more than 8 dimensions"},
      {npy(header("<f4", "(99999999999999999999,)"), ""), "more than 64 bits hold"},
      {npy(header("<f4", "(1152921504606846976,)"), "abcd"),
       "truncated: the header says float32[1152921504606846976], but at most 4 bytes follow"},
      {npy(header("<f4", "(4294967296, 4294967296)"), "abcd"), "but at most 4 bytes follow"},
      {npy(header("<u2", "(2,)"), "abcd"),
       "elements of NumPy's type '<u2' cannot be read; convert the array with astype"},
      {npy(header("<U5", "(2,)"), "abcd"), "elements of NumPy's type '<U5' cannot be read"},
      {npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,)}", "abcd"),
       "a structured array, of several fields"},
      {npy(header("|b1", "(3,)"), {0, 1, 2}), "2 is no boolean, which is 0 or 1 (at byte 70)"},
  };
  for (const Row& row : rows) {
    const fs::path path = write(directory / "broken.npy", row.bytes);
    const std::string read = fault([&] { read_npy(path); });
    CAPTURE(read);
    CAPTURE(row.fault);
    CHECK(read.starts_with(path.string() + ": "));
    CHECK(contains(read, row.fault));
    CHECK(fault([&] { map_npy(path); }) != "(no error)");
  }
  CHECK(contains(fault([&] { read_npy(directory / "absent"); }), "absent: no such file"));
  CHECK(contains(fault([&] { read_npz(directory / "absent"); }), "absent: no such file"));
  CHECK(contains(fault([&] { write_npy(directory / "no/a.npy", Tensor(1.f)); }),
                 "cannot be written: No such file or directory"));
  CHECK(contains(fault([&] {
                   write_npz(directory / "no/a.npz", {{"a", Tensor(1.f)}});
                 }),
                 "cannot be written: "));
}

TEST_CASE("a broken archive is refused with file, array and fault") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "a.npz";
  std::vector<float> many(4000);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i * i % 251);
  for (const bool compressed : {false, true}) {
    write_npz(path, {{"first", Tensor::from(many, {4000})}, {"other", Tensor{1, 2}}},
              {.compressed = compressed});
    const std::string good = contents(path);
    // Cut anywhere, or with a byte changed: an error, or what was written.
    for (std::size_t at = 0; at < good.size(); at += at < 300 ? 1 : 53) {
      CAPTURE(at);
      CHECK(fault([&] { read_npz(write(path, good.substr(0, at))); }) != "(no error)");
      std::string changed = good;
      changed[at] = static_cast<char>(changed[at] ^ 0x41);
      write(path, changed);
      try {
        for (const auto& [name, tensor] : read_npz(path)) CHECK(tensor.num_elements() <= 4000);
      } catch (const DataError& error) {
        CHECK(contains(error.what(), path.string() + ": "));
      }
    }
    const std::size_t element = good.find("first.npy") + 200;
    std::string changed = good;
    changed[element] = static_cast<char>(changed[element] ^ 1);
    CHECK(contains(fault([&] { read_npz(write(path, changed)); }), "array 'first': "));
    // A name of the same length, in both of its places.
    std::string twice = good;
    for (std::size_t at = twice.find("other"); at != std::string::npos; at = twice.find("other"))
      twice.replace(at, 5, "first");
    CHECK(contains(fault([&] { read_npz(write(path, twice)); }), "two arrays have one name"));
    std::string foreign = good;
    for (std::size_t at = foreign.find("other.npy"); at != std::string::npos;
         at = foreign.find("other.npy"))
      foreign.replace(at, 9, "other.txt");
    CHECK(contains(fault([&] { read_npz(write(path, foreign)); }),
                   "member 'other.txt': is no array; names of arrays end in .npy"));
  }
  CHECK(contains(fault([&] { read_npz(write(path, "")); }), "an empty file is no zip file"));
  CHECK(contains(fault([&] { read_npz(write(path, "no zip file at all")); }),
                 "no zip archive, or one whose end is cut off"));
}

TEST_CASE("arrays that cannot be written are refused") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "a";
  CHECK_THROWS_WITH_AS(write_npy(path, Tensor()),
                       doctest::Contains("write_npy: the tensor is empty  (test_npy.cpp"),
                       BuildError);
  CHECK_THROWS_WITH_AS(write_npz(path, {}), doctest::Contains("there is no array to write"),
                       BuildError);
  CHECK_THROWS_WITH_AS(write_npz(path, {{"a", Tensor(1)}, {"a", Tensor(2)}}),
                       doctest::Contains("two arrays are called 'a'"), BuildError);
  CHECK_THROWS_WITH_AS(write_npz(path, {{"", Tensor(1)}}), doctest::Contains("name is empty"),
                       BuildError);
  CHECK_THROWS_WITH_AS(write_npz(path, {{"a", Tensor()}}),
                       doctest::Contains("the tensor 'a' is empty"), BuildError);
  CHECK(!fs::exists(path));
}

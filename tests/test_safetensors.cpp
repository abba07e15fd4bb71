#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "temporary_directory.h"
#include "tests_folder.h"

namespace gradgraph::tests {
namespace {

namespace fs = std::filesystem;

/// A file with this header and so many bytes behind it.
std::string with_header(const std::string& header, std::size_t data_bytes) {
  std::uint64_t size = header.size();
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + header + std::string(data_bytes, '\0');
}

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What is wrong with such a file, without its path.
std::string fault(const std::string& bytes) {
  const TemporaryDirectory folder;
  const fs::path path = folder / "weights.safetensors";
  std::ofstream(path, std::ios::binary) << bytes;
  const std::string text = message_of<DataError>([&] { read_safetensors(path); });
  const std::string prefix = path.string() + ": at byte ";
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

const Tensor& named(const Safetensors& file, const std::string& name) {
  for (const NamedTensor& tensor : file.tensors)
    if (tensor.name == name) return tensor.value;
  throw std::runtime_error("there is no " + name);
}

bool equal_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace

TEST_CASE("safetensors: what PyTorch wrote") {
  const Safetensors file =
      read_safetensors(GRADGRAPH_TESTS_FOLDER "/golden/every_dtype.safetensors");
  CHECK(file.tensors.size() == 10);
  CHECK(file.metadata == std::map<std::string, std::string>{{"made by", "PyTorch"}});
  const Tensor numbers{{0.0, 1.0, -2.5}, {3.25, 100.0, 1e-3}};
  CHECK(equal_bits(named(file, "float32"), numbers.cast(float32)));
  CHECK(equal_bits(named(file, "float64"), numbers.cast(float32).cast(float64)));
  CHECK(equal_bits(named(file, "float16"), numbers.cast(float16)));
  CHECK(equal_bits(named(file, "bfloat16"), numbers.cast(bfloat16)));
  CHECK(equal_bits(named(file, "int32"), Tensor{-1, 2147483647}));
  CHECK(equal_bits(named(file, "int64"), Tensor{std::int64_t{-1}, std::int64_t{1} << 62}));
  CHECK(equal_bits(named(file, "uint8"), Tensor{std::uint8_t{0}, std::uint8_t{255}}));
  CHECK(equal_bits(named(file, "bool"), Tensor{true, false, true}));
  CHECK(equal_bits(named(file, "scalar"), Tensor(7.5f)));
  CHECK(named(file, "empty").shape() == Shape{0, 3});
}

TEST_CASE("safetensors: what is written is read") {
  const TemporaryDirectory folder;
  const fs::path path = folder / "weights.safetensors";
  const std::vector<NamedTensor> tensors = {
      {"a", Tensor{true, false}},
      {"b/\"quoted\" \n \u00e4", Tensor{{1.5f, -2.f}, {3.f, 4.f}}},
      {"", Tensor{1.0, 2.0}},
      {"half", Tensor{1.f, 2.f, 3.f}.cast(float16)},
      {"nothing", Tensor::zeros(int64, {2, 0})},
      {"scalar", Tensor(std::int64_t{-5})},
      {"eight axes", Tensor::full(bfloat16, {1, 2, 1, 2, 1, 2, 1, 1}, 3)}};
  write_safetensors(path, tensors, {{"step", "120"}});
  const Safetensors file = read_safetensors(path);
  CHECK(file.metadata == std::map<std::string, std::string>{{"step", "120"}});
  CHECK(file.tensors.size() == tensors.size());
  for (const auto& [name, value] : tensors) CHECK(equal_bits(named(file, name), value));
  // Larger elements first, from an aligned byte on.
  CHECK(file.tensors.front().value.dtype() == float64);
  std::uint64_t header = 0;
  std::memcpy(&header, read_bytes(path).data(), sizeof(header));
  CHECK((header + 8) % 64 == 0);

  write_safetensors(path, {});
  CHECK(read_safetensors(path).tensors.empty());
}

TEST_CASE("safetensors: a file that lies is refused, with the byte and the reason") {
  CHECK(contains(fault(""), "0: 0 bytes are no safetensors file"));
  CHECK(contains(fault("\x10\0\0\0\0\0\0"), "no safetensors file"));
  const auto huge = [](std::uint64_t size) {
    std::string bytes = with_header("{}", 0);
    std::memcpy(bytes.data(), &size, sizeof(size));
    return fault(bytes);
  };
  CHECK(contains(huge(1'000'000'000), "0: a header of 1000000000 bytes, but only 2 follow"));
  CHECK(contains(huge(~std::uint64_t{0}), "but only 2 follow"));
  CHECK(contains(huge(0), "8: the header is no JSON object"));
  CHECK(contains(fault(with_header(" {}", 0)), "8: the header is no JSON object"));

  struct Case {
    std::string header;
    std::size_t data_bytes;
    std::string message;
  };
  const std::string ok = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  CHECK(fault(with_header("{" + ok + "}   ", 8)) == "(no error)");
  const Case cases[] = {
      {"{" + ok + "}", 7, "'a': is at 0 to 8 of 7 bytes of data"},
      {"{" + ok + "}", 9, "the last 1 bytes belong to no tensor"},
      {"{" + ok, 8, "no JSON: "},
      {"{" + ok + "} x", 8, "no JSON: "},
      {"{" + ok + "," + ok + "}", 8, "'a': the name appears twice"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8,
       "'dtype' twice"},
      {R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", 8, "unknown dtype 'F33'"},
      {R"({"a":{"dtype":"I16","shape":[4],"data_offsets":[0,8]}})", 8,
       "'a': elements of dtype I16 are not supported"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8,
       "F32[3] takes 12 bytes, but data_offsets give it 8"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "is at 8 to 0 of 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", 8, "the number 8 where"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "data_offsets are not two"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8, "a negative number"},
      {R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", 8, "the number 2.5"},
      {R"({"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,8]}})", 8,
       "takes 4611686018427387904 bytes"},
      {R"({"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8,
       "is more than any file holds"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8,
       "an axis of 18446744073709551615 elements"},
      {R"({"a":{"dtype":"F32","shape":[36893488147419103232],"data_offsets":[0,8]}})", 8,
       "the number 36893488147419103232"},
      {R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,8]}})", 8,
       "more than 8 axes"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 0, "'a': has no data_offsets"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8, "'a': has no shape"},
      {R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8, "'a': has no dtype"},
      {R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8, "a list"},
      {R"({"a":{"dtype":"F32","shape":{"x":2},"data_offsets":[0,8]}})", 8, "an object"},
      {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8, "the number 2"},
      {R"({"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}})", 8, "the number 4"},
      {R"({"a":{"dtype":null,"shape":[2],"data_offsets":[0,8]}})", 8, "null"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})", 8, "'more'"},
      {R"({"a":[]})", 0, "a list"},
      {R"({"a":"text"})", 0, "a string"},
      {R"({"__metadata__":{"a":1}})", 0, "the number 1"},
      {R"({"__metadata__":{"a":"x","a":"y"}})", 0, "'a' twice"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
       6, "'b' overlaps the tensor before it"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}})",
       8, "2 bytes before 'b' belong to no tensor"}};
  for (const Case& each : cases) {
    CAPTURE(each.header);
    const std::string text = fault(with_header(each.header, each.data_bytes));
    CAPTURE(text);
    CHECK(contains(text, each.message));
    CHECK(text.find_first_of("0123456789") == 0);
  }
  const std::string deep = R"({"a":{"dtype":"F32","shape":)" + std::string(1'000'000, '[');
  CHECK(contains(fault(with_header(deep, 0)), "a list"));

  std::string odd = with_header(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  odd.back() = 2;
  CHECK(contains(fault(odd), "'a': 2 is no boolean"));
}

TEST_CASE("safetensors: every cut of a file is refused") {
  const std::string whole = read_bytes(GRADGRAPH_TESTS_FOLDER "/golden/every_dtype.safetensors");
  for (std::size_t size = 0; size < whole.size(); ++size)
    if (fault(whole.substr(0, size)) == "(no error)") FAIL("cut to ", size, " bytes");
  CHECK(fault(whole) == "(no error)");
}

TEST_CASE("safetensors: what is no file, and what cannot be written") {
  const TemporaryDirectory folder;
  const auto reading = [&](const fs::path& path) {
    return message_of<DataError>([&] { read_safetensors(path); });
  };
  CHECK(contains(reading(folder / "none"), "none: no such file"));
  CHECK(contains(reading(folder.path()), "not a regular file"));
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(contains(reading(folder / "pipe"), "not a regular file"));

  const fs::path path = folder / "no folder/a.safetensors";
  CHECK(contains(message_of<DataError>([&] { write_safetensors(path, {}); }),
                 "cannot be written: No such file or directory"));

  // What cannot be stored leaves the older file as it is, and nothing beside it.
  const fs::path kept = folder / "kept.safetensors";
  write_safetensors(kept, {{"a", Tensor(1.f)}});
  const auto refused = [&](const std::vector<NamedTensor>& tensors) {
    return message_of<BuildError>([&] { write_safetensors(kept, tensors); });
  };
  CHECK(contains(refused({{"a", {}}}), "'a' is an empty tensor handle  (test_safetensors.cpp:"));
  CHECK(contains(refused({{"a", Tensor(1.f)}, {"a", Tensor(1.f)}}), "two tensors have the name"));
  CHECK(contains(refused({{"__metadata__", Tensor(1.f)}}), "__metadata__"));
  CHECK(contains(refused({{"\xff", Tensor(1.f)}}), "is no UTF-8"));
  CHECK(named(read_safetensors(kept), "a").item<float>() == 1.f);
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 2);
}

}  // namespace gradgraph::tests

#include <doctest/doctest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/text.h"
#include "gradgraph/data.h"
#include "gradgraph/error.h"
#include "temporary_directory.h"

using namespace gradgraph;
using gradgraph::tests::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

std::string big_endian(std::uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes += static_cast<char>(number >> static_cast<unsigned>(shift) & 0xFFU);
  return bytes;
}

std::string idx(int type, const std::vector<std::uint32_t>& dims, const std::string& values) {
  std::string bytes = {0, 0, static_cast<char>(type), static_cast<char>(dims.size())};
  for (const std::uint32_t dim : dims) bytes += big_endian(dim);
  return bytes + values;
}

fs::path write_plain(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

fs::path write_gzip(const fs::path& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  return path;
}

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The message of the DataError that `body` throws; it must name `path`.
template <class Body>
std::string fault(const fs::path& path, Body&& body) {
  try {
    body();
  } catch (const DataError& error) {
    const std::string message = without_line(error), prefix = path.string() + ": ";
    CHECK(message.substr(0, prefix.size()) == prefix);
    return message.substr(std::min(message.size(), prefix.size()));
  }
  return "(no error)";
}

std::string idx_fault(const fs::path& path) {
  return fault(path, [&] { data::read_idx(path); });
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Sets an environment variable, or removes it, for a while.
class Environment {
 public:
  Environment(const char* name, const std::optional<std::string>& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Environment() { set(before_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const std::optional<std::string>& value) const {
    if (value)
      setenv(name_, value->c_str(), 1);
    else
      unsetenv(name_);
  }
  const char* name_;
  std::optional<std::string> before_;
};

std::string images(std::uint32_t count) {
  std::string pixels(std::size_t{count} * 28 * 28, '\0');
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<char>(i % 256);
  return idx(8, {count, 28, 28}, pixels);
}
std::string labels(std::uint32_t count) {
  std::string classes(count, '\0');
  for (std::size_t i = 0; i < count; ++i) classes[i] = static_cast<char>(i % 10);
  return idx(8, {count}, classes);
}

void write_mnist(const fs::path& directory, std::uint32_t train = 6, std::uint32_t test = 3) {
  fs::create_directories(directory);
  write_gzip(directory / "train-images-idx3-ubyte.gz", images(train));
  write_plain(directory / "train-labels-idx1-ubyte", labels(train));
  write_plain(directory / "t10k-images-idx3-ubyte", images(test));
  write_gzip(directory / "t10k-labels-idx1-ubyte.gz", labels(test));
}

}  // namespace

TEST_CASE("IDX files are read plain and compressed") {
  const TemporaryDirectory directory;
  const std::string bytes = idx(8, {2, 3}, {1, 2, 3, 4, 5, static_cast<char>(255)});
  for (const fs::path& path :
       {write_plain(directory / "a", bytes), write_gzip(directory / "a.gz", bytes),
        write_gzip(directory / "compressed-without-the-suffix", bytes)})
    CHECK(data::read_idx(path).to_string() == "uint8[2,3] [[1, 2, 3], [4, 5, 255]]");
}

TEST_CASE("IDX elements may be uint8, int32, float32 and float64, big-endian") {
  const TemporaryDirectory directory;
  const auto read = [&](const std::string& bytes) {
    return data::read_idx(write_plain(directory / "a", bytes)).to_string();
  };
  CHECK(read(idx(0x0C, {2}, big_endian(258) + big_endian(0xFFFFFFFEU))) == "int32[2] [258, -2]");
  CHECK(read(idx(0x0D, {1}, big_endian(0xC0200000U))) == "float32[1] [-2.5]");
  CHECK(read(idx(0x0E, {1, 1}, big_endian(0x3FF80000U) + big_endian(0))) ==
        "float64[1,1] [[1.5]]");
  CHECK(read(idx(8, {0, 7}, "")) == "uint8[0,7] []");
  CHECK(read(idx(8, {1, 1, 1, 1, 1, 1, 1, 1}, "\5")) ==
        "uint8[1,1,1,1,1,1,1,1] [[[[[[[[5]]]]]]]]");
}

TEST_CASE("a broken IDX header is refused with path and fault") {
  const TemporaryDirectory directory;
  struct Row {
    std::string bytes, fault;
  };
  const std::string zeros(16, '\0');
  const Row rows[] = {
      {"", "truncated: 0 bytes are no IDX header"},
      {idx(8, {}, "").substr(0, 3), "truncated: 3 bytes are no IDX header"},
      {"PNG?" + zeros, "not an IDX file: it starts with 50 4E, not with 00 00"},
      {"\1" + idx(8, {1}, "x").substr(1), "not an IDX file: it starts with 01 00"},
      {idx(0, {1}, "x"), "0x00 is not an IDX element type"},
      {idx(0x0F, {1}, zeros), "0x0F is not an IDX element type"},
      {idx(0x09, {1}, "x"), "int8 (0x09) are not supported"},
      {idx(0x0B, {1}, "xx"), "int16 (0x0B) are not supported"},
      {idx(8, {}, ""), "0 dimensions; 1 to 8 are supported"},
      {idx(8, std::vector<std::uint32_t>(9, 1), "x"), "9 dimensions; 1 to 8 are supported"},
      {idx(8, {2, 3}, "").substr(0, 8), "truncated: the header stops at dimension 1 of 2"},
      {idx(8, {2, 3}, "").substr(0, 6), "truncated: the header stops at dimension 0 of 2"},
      {idx(8, {4}, "abc"), "truncated: the header says uint8[4], but only 3 bytes follow"},
      {idx(0x0D, {1}, "abc"), "truncated: the header says float32[1], but only 3 bytes follow"},
      {idx(8, {4}, "abcde"), "the header says uint8[4], but more than 4 bytes follow"},
      {idx(8, {0}, "a"), "the header says uint8[0], but more than 0 bytes follow"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.fault);
    const std::string plain = idx_fault(write_plain(directory / "plain", row.bytes));
    CAPTURE(plain);
    CHECK(contains(plain, row.fault));
    const std::string zipped = idx_fault(write_gzip(directory / "zipped.gz", row.bytes));
    CAPTURE(zipped);
    CHECK(contains(zipped, row.fault));
  }
}

TEST_CASE("a header that asks for more than the file can hold takes no memory") {
  const TemporaryDirectory directory;
  for (const auto& dims : {std::vector<std::uint32_t>{0xFFFFFFFFU},
                           std::vector<std::uint32_t>{0xFFFFFFFFU, 0xFFFFFFFFU, 0xFFFFFFFFU}}) {
    const std::string bytes = idx(8, dims, "abc");
    CHECK(contains(idx_fault(write_plain(directory / "a", bytes)), "but only 3 bytes follow"));
    CHECK(contains(idx_fault(write_gzip(directory / "a.gz", bytes)), "but at most "));
  }
}

TEST_CASE("broken compressed data is refused") {
  const TemporaryDirectory directory;
  std::string values;
  for (int i = 0; i < 4000; ++i) values += static_cast<char>(i * i % 251);
  const fs::path path = write_gzip(directory / "a.gz", idx(8, {4000}, values));
  const std::string good = read_bytes(path);

  for (const std::size_t cut : {std::size_t{1}, std::size_t{8}, good.size() / 2}) {
    write_plain(path, good.substr(0, good.size() - cut));
    CAPTURE(cut);
    CHECK(contains(idx_fault(path), "truncated: the compressed data stops in the middle"));
  }
  // In the header of the format itself.
  write_plain(path, good.substr(0, 5));
  CHECK(contains(idx_fault(path), "truncated"));

  std::string wrong_sum = good;
  wrong_sum[good.size() - 6] = static_cast<char>(wrong_sum[good.size() - 6] ^ 1);
  CHECK(idx_fault(write_plain(path, wrong_sum)) ==
        "the compressed data is corrupt (incorrect data check)");
  std::string wrong_length = good;
  wrong_length[good.size() - 2] = static_cast<char>(wrong_length[good.size() - 2] ^ 1);
  CHECK(contains(idx_fault(write_plain(path, wrong_length)), "incorrect length check"));
}

TEST_CASE("what is no readable file is refused") {
  const TemporaryDirectory directory;
  CHECK(idx_fault(directory / "absent") == "no such file");
  CHECK(idx_fault(directory.path()) == "not a regular file");
  fs::create_symlink(directory / "nowhere", directory / "link");
  CHECK(idx_fault(directory / "link") == "no such file");
  if (geteuid() != 0) {  // root may read everything
    const fs::path secret = write_plain(directory / "secret", idx(8, {1}, "x"));
    fs::permissions(secret, fs::perms::none);
    CHECK(idx_fault(secret) == "Permission denied");
  }
}

TEST_CASE("MNIST keeps images as uint8 and gives labels as int64") {
  const TemporaryDirectory directory;
  write_mnist(directory.path());
  const data::Mnist mnist = data::read_mnist(directory.path());
  CHECK(mnist.train.size() == 6);
  CHECK(mnist.test.size() == 3);
  CHECK(mnist.train["images"].dtype() == uint8);
  CHECK(mnist.train["images"].shape() == Shape{6, 28, 28, 1});
  CHECK(mnist.train["images"].at<std::uint8_t>({1, 0, 0, 0}) == 784 % 256);
  CHECK(mnist.test["labels"].to_string() == "int64[3] [0, 1, 2]");
  CHECK(mnist.directory == directory.path());
  CHECK(mnist.source == "MNIST in " + directory.path().string());
}

TEST_CASE("MNIST's files may have a dot in their names") {
  const TemporaryDirectory directory;
  write_mnist(directory.path());
  for (const char* const name : {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte",
                                 "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"}) {
    std::string dotted = name;
    dotted[dotted.find("-idx")] = '.';
    fs::rename(directory / name, directory / dotted);
    CHECK(data::read_mnist(directory.path()).train.size() == 6);
  }
}

TEST_CASE("a broken MNIST directory is refused with the file at fault") {
  const TemporaryDirectory directory;
  const fs::path folder = directory / "mnist";
  const auto mnist_fault = [&](const char* file, const std::string& bytes) {
    fs::remove_all(folder);
    write_mnist(folder);
    write_plain(folder / file, bytes);
    return fault(folder / file, [&] { data::read_mnist(folder); });
  };
  std::string bad_label = labels(6);
  bad_label.back() = 10;
  CHECK(mnist_fault("train-labels-idx1-ubyte", bad_label) ==
        "label 10 of sample 5 is outside 0..9");
  CHECK(mnist_fault("train-labels-idx1-ubyte", labels(5)) ==
        "5 labels for the 6 images of train-images-idx3-ubyte.gz");
  CHECK(mnist_fault("train-labels-idx1-ubyte", images(6)) ==
        "MNIST labels are uint8[N], this is uint8[6,28,28]");
  CHECK(mnist_fault("t10k-images-idx3-ubyte", labels(3)) ==
        "MNIST images are uint8[N,28,28], this is uint8[3]");
  CHECK(mnist_fault("t10k-images-idx3-ubyte", idx(8, {1, 2, 2}, "abcd")) ==
        "MNIST images are uint8[N,28,28], this is uint8[1,2,2]");
  CHECK(mnist_fault("t10k-images-idx3-ubyte", idx(8, {0, 28, 28}, "")) == "holds no images");
  CHECK(contains(mnist_fault("t10k-images-idx3-ubyte", images(3).substr(0, 1000)),
                 "truncated: the header says uint8[3,28,28], but only 984 bytes follow"));
  CHECK(contains(mnist_fault("t10k-images-idx3-ubyte", "not a number"), "not an IDX file"));

  fs::remove(folder / "t10k-images-idx3-ubyte");
  CHECK(fault(folder / "t10k-images-idx3-ubyte", [&] { data::read_mnist(folder); }) ==
        "no such file, neither plain nor with .gz");
  CHECK(fault(directory / "absent/train-images-idx3-ubyte", [&] {
          data::read_mnist(directory / "absent");
        }) == "no such file, and the directory is not there either");
}

TEST_CASE("MNIST is searched in the documented order") {
  const TemporaryDirectory directory;
  const fs::path before = fs::current_path();
  fs::current_path(directory.path());
  const Environment home("HOME", (directory / "home").string());
  const Environment cache("XDG_CACHE_HOME", std::nullopt);
  const Environment unset("MNIST_DIR", std::nullopt);

  write_mnist(directory / "home/.cache/gradgraph/mnist", 1);
  CHECK(data::find_mnist().train.size() == 1);
  CHECK(contains(data::find_mnist().source, ".cache/gradgraph/mnist (downloaded)"));
  {
    write_mnist(directory / "cache/gradgraph/mnist", 2);
    const Environment other("XDG_CACHE_HOME", (directory / "cache").string());
    CHECK(data::find_mnist().train.size() == 2);
  }
  write_mnist(directory / "data/mnist", 3);
  CHECK(data::find_mnist().train.size() == 3);
  CHECK(data::find_mnist().source == "MNIST in data/mnist (found there)");
  {
    write_mnist(directory / "named", 4);
    const Environment named("MNIST_DIR", (directory / "named").string());
    CHECK(data::find_mnist().train.size() == 4);
    CHECK(contains(data::find_mnist().source, "named (from $MNIST_DIR)"));
    write_mnist(directory / "given", 5);
    CHECK(data::find_mnist(directory / "given").train.size() == 5);
  }
  {
    // Named, so that its absence must not be passed over.
    const Environment named("MNIST_DIR", (directory / "absent").string());
    CHECK_THROWS_AS(data::find_mnist(), DataError);
    CHECK_THROWS_AS(data::find_mnist(directory / "absent"), DataError);
  }
  // Half a data set in data/mnist is broken, not absent; half a download does not count.
  fs::remove(directory / "data/mnist/t10k-labels-idx1-ubyte.gz");
  CHECK_THROWS_WITH_AS(
      data::find_mnist(),
      doctest::Contains(
          "data/mnist/t10k-labels-idx1-ubyte: no such file, neither plain nor with .gz"),
      DataError);
  fs::remove_all(directory / "data");
  fs::remove(directory / "home/.cache/gradgraph/mnist/t10k-labels-idx1-ubyte.gz");
  if (fs::exists("/usr/share/datasets/fashion-mnist")) {
    CHECK(contains(data::find_mnist().source, "Fashion-MNIST in /usr/share/datasets"));
  } else {
    try {
      data::find_mnist();
      FAIL("found MNIST somewhere");
    } catch (const DataError& error) {
      for (const char* part : {"no MNIST found in data/mnist, ", "/home/.cache/gradgraph/mnist, ",
                               "fashion-mnist; name its directory with --data or $MNIST_DIR"})
        CHECK(contains(error.what(), part));
    }
  }
  fs::current_path(before);
}

TEST_CASE("the first samples of a data set share its memory") {
  const TemporaryDirectory directory;
  write_mnist(directory.path());
  const data::Dataset train = data::read_mnist(directory.path()).train;
  const data::Dataset first = train.first(2);
  CHECK(first.size() == 2);
  CHECK(first["images"].raw() == train["images"].raw());
  CHECK(first["labels"].to_string() == "int64[2] [0, 1]");
  CHECK(train.first(0).size() == 6);
  CHECK(train.first(100).size() == 6);
  CHECK_THROWS_WITH_AS(train.first(-1), doctest::Contains("a data set has no first -1 samples"),
                       BuildError);
  CHECK(data::Dataset().first(3).size() == 0);
}

// Tables, CIFAR and images, of the real programs' files in data_files/ and of broken ones.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/text.h"
#include "gradgraph/data.h"
#include "gradgraph/error.h"
#include "gradgraph/npy.h"
#include "messages.h"
#include "temporary_directory.h"
#include "tests_folder.h"

using namespace gradgraph;
using gradgraph::tests::contains;
using gradgraph::tests::message_of;
using gradgraph::tests::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

const fs::path kFiles = GRADGRAPH_TESTS_FOLDER "/data_files";

fs::path write(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}
std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Tables of text, each in a file of the same name.
class Tables {
 public:
  data::Dataset read(const std::string& text, const data::CsvOptions& options = {}) const {
    return data::read_csv(write(directory_ / "a.csv", text), options);
  }
  std::string fault(const std::string& text, const data::CsvOptions& options = {}) const {
    const std::string prefix = (directory_ / "a.csv").string() + ": ";
    try {
      read(text, options);
    } catch (const Error& error) {
      const std::string message = without_line(error);
      return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
    }
    return "(no error)";
  }

 private:
  TemporaryDirectory directory_;
};

/// Whether the library was built with what decodes images.
bool reads_images() {
  return !contains(message_of([] { data::read_image(kFiles / "colours.png"); }),
                   "without libpng and libjpeg-turbo");
}

int largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.num_elements() == b.num_elements());
  int largest = 0;
  for (std::int64_t i = 0; i < a.num_elements(); ++i)
    largest = std::max(largest, std::abs(a.data<std::uint8_t>()[i] - b.data<std::uint8_t>()[i]));
  return largest;
}

}  // namespace

TEST_CASE("NumPy's own files are read") {
  CHECK(read_npy(kFiles / "fortran.npy").to_string() == "float64[2,3] [[0, 1, 2], [3, 4, 5]]");
  CHECK(read_npy(kFiles / "big_endian.npy").to_string() == "int32[3] [0, 1, 2]");
  CHECK(contains(message_of([] { map_npy(kFiles / "fortran.npy"); }), "is in Fortran order"));
  CHECK(contains(message_of([] { map_npy(kFiles / "big_endian.npy"); }),
                 "another machine's order of bytes"));
}

TEST_CASE("a table of Python's csv module is read, and its types are inferred") {
  const data::Dataset table = data::read_csv(kFiles / "table.csv", {.fill_class = "none"});
  CHECK(table.names() ==
        std::vector<std::string>{"height", "count", "kind", "note, with a comma"});
  CHECK(table["height"].to_string() == "float32[3] [1.5, -2000, 7]");
  CHECK(table["count"].to_string() == "int64[3] [3, 4, -5]");
  CHECK(table["kind"].to_string() == "int64[3] [1, 0, 1]");
  CHECK(table.classes("kind") == std::vector<std::string>{"beech", "oak"});
  CHECK(table.classes("note, with a comma") ==
        std::vector<std::string>{"none", "said \"yes\"", "two\nlines"});
  CHECK(table["note, with a comma"].to_string() == "int64[3] [1, 2, 0]");
}

TEST_CASE("tables have headers or not, separators, and types of their own") {
  const Tables tables;
  CHECK(tables.read("a,b\n1,2\n", {.header = false}).names() ==
        std::vector<std::string>{"0", "1"});
  const data::Dataset plain =
      tables.read("1;'x;y'\r\n2;z\r\n\r\n", {.header = false, .separator = ';', .quote = '\''});
  CHECK(plain["0"].to_string() == "int64[2] [1, 2]");
  CHECK(plain.classes("1") == std::vector<std::string>{"x;y", "z"});
  CHECK(tables.read("\xEF\xBB\xBF,x\n0,1").names() == std::vector<std::string>{"0", "x"});
  CHECK(tables.read("x\n 1 \n+2\n1e3")["x"].to_string() == "float32[3] [1, 2, 1000]");

  using enum data::ColumnType;
  const data::Dataset typed = tables.read(
      "a,b,c\n1,2,3\n4,5,3\n", {.types = {{"a", float32}, {"b", float64}, {"c", classes}}});
  CHECK(typed["a"].to_string() == "float32[2] [1, 4]");
  CHECK(typed["b"].to_string() == "float64[2] [2, 5]");
  CHECK(typed["c"].to_string() == "int64[2] [0, 0]");
  CHECK(typed.classes("c") == std::vector<std::string>{"3"});
  const data::Dataset known = tables.read("c\nb\na\n", {.classes = {{"c", {"none", "b", "a"}}}});
  CHECK(known["c"].to_string() == "int64[2] [1, 2]");
  // Numbers first, then a word: all of it is classes.
  CHECK(tables.read("a\n7\n8\nx\n7\n").classes("a") == std::vector<std::string>{"7", "8", "x"});
  CHECK(tables.read("a,b\n")["a"].to_string() == "int64[0] []");
}

TEST_CASE("missing values are said with line and column, or filled") {
  const Tables tables;
  CHECK(contains(tables.fault("a,b\n1,2\n3,\n"), "line 3, column 'b': the value is missing"));
  CHECK(contains(tables.fault("a\nx\nNA\n"), "line 3, column 'a': the class is missing"));
  CHECK(tables.read("a,b\n1,\n3,4\n", {.fill = -1})["b"].to_string() == "int64[2] [-1, 4]");
  const Tensor filled = tables.read("a,b\n1,\n3,4\n", {.fill = std::nan("")})["b"];
  CHECK(filled.dtype() == float32);
  CHECK(std::isnan(filled.at<float>({0})));
  CHECK(tables.read("a\n?\n2\n", {.missing = {"?"}, .fill = 0.5})["a"].to_string() ==
        "float32[2] [0.5, 2]");
  CHECK(
      contains(tables.fault("a\nNA\n", {.types = {{"a", data::ColumnType::int64}}, .fill = 0.5}),
               "0.5 is no whole number to fill with"));
}

TEST_CASE("broken tables are refused with line and column") {
  const Tables tables;
  using enum data::ColumnType;
  CHECK(tables.fault("") == "a table without a line (at byte 0)");
  CHECK(tables.fault("\n\r\n") == "a table without a line (at byte 0)");
  CHECK(tables.fault("a,b\n1,2\n\n3\n") ==
        "line 4: 1 fields, but the first line has 2 (at byte 9)");
  CHECK(contains(tables.fault("a,b\n1,2,3\n"), "line 2: 3 fields, but the first line has 2"));
  CHECK(contains(tables.fault("a,a\n"), "line 1: two columns are called 'a' (at byte 2)"));
  CHECK(contains(tables.fault("a\n\"x\n\ny"), "line 2: the quote is not closed (at byte 2)"));
  CHECK(contains(tables.fault("a\n\"x\"y\n"), "line 2: something stands behind the quote"));
  CHECK(contains(tables.fault(std::string("a\nx\0y\n", 6)), "line 2: a zero byte"));
  CHECK(contains(tables.fault("a\n1\nx\n", {.types = {{"a", int64}}}),
                 "line 3, column 'a': 'x' is no whole number of 64 bits (at byte 4)"));
  CHECK(contains(tables.fault("a\n99999999999999999999\n", {.types = {{"a", int64}}}),
                 "is no whole number of 64 bits"));
  CHECK(contains(tables.fault("a\n1e999\n", {.types = {{"a", float64}}}), "beyond float64"));
  CHECK(contains(tables.fault("a\n1e99\n"), "is more than float32 holds; ask for float64"));
  CHECK(contains(tables.fault("a\nx\n", {.classes = {{"a", {"y"}}}}),
                 "line 2, column 'a': 'x' is none of the classes"));
  CHECK(contains(tables.fault(std::string(70000, ',')), "more than 65536 columns"));
  CHECK(contains(tables.fault("a\n" + std::string(100, 'x'), {.types = {{"a", int64}}}),
                 "'" + std::string(40, 'x') + "...' is no whole number"));
  // Of what the program asks for.
  CHECK(contains(tables.fault("a\n1\n", {.types = {{"b", int64}}}), "has no column 'b'"));
  CHECK(contains(tables.fault("a\n1\n", {.separator = '"'}), "separator and quote must differ"));
  CHECK(contains(tables.fault("a\n1\n", {.types = {{"a", int64}}, .classes = {{"a", {"1"}}}}),
                 "has names of classes, but is to be numbers"));
  CHECK(contains(message_of([] { data::read_csv("/nowhere/a.csv"); }), "no such file"));
}

namespace {

/// A CIFAR record whose planes are 1, 2 and 3, but for the first red pixel.
std::string record(const std::string& labels) {
  std::string bytes = labels;
  for (const char plane : {'\1', '\2', '\3'}) bytes += std::string(1024, plane);
  bytes[labels.size()] = 9;
  return bytes;
}

void write_cifar10(const fs::path& folder) {
  for (int i = 1; i <= 5; ++i)
    write(folder / ("data_batch_" + std::to_string(i) + ".bin"),
          record({static_cast<char>(i)}) + record({0}));
  write(folder / "test_batch.bin", record({9}));
}

}  // namespace

TEST_CASE("CIFAR's binary files are read") {
  const TemporaryDirectory directory;
  write_cifar10(directory / "ten/cifar-10-batches-bin");
  data::Cifar cifar = data::read_cifar10(directory / "ten");
  CHECK(cifar.train["images"].shape() == Shape{10, 32, 32, 3});
  CHECK(cifar.train["labels"].to_string() == "int64[10] [1, 0, 2, ..., 0, 5, 0]");
  CHECK(cifar.test["images"].at<std::uint8_t>({0, 0, 0, 0}) == 9);
  CHECK(cifar.test["images"].at<std::uint8_t>({0, 0, 1, 0}) == 1);
  CHECK(cifar.test["images"].at<std::uint8_t>({0, 0, 1, 1}) == 2);
  CHECK(cifar.test["images"].at<std::uint8_t>({0, 31, 31, 2}) == 3);
  CHECK(cifar.test.classes("labels").empty());
  write(directory / "ten/cifar-10-batches-bin/batches.meta.txt",
        "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
  cifar = data::read_cifar10(directory / "ten/cifar-10-batches-bin");
  CHECK(cifar.test.classes("labels")[9] == "truck");

  write(directory / "hundred/train.bin", record({19, 99}) + record({0, 1}));
  write(directory / "hundred/test.bin", record({2, 3}));
  cifar = data::read_cifar100(directory / "hundred");
  CHECK(cifar.train["labels"].to_string() == "int64[2] [99, 1]");
  CHECK(cifar.train["coarse_labels"].to_string() == "int64[2] [19, 0]");
}

TEST_CASE("broken CIFAR files are refused") {
  const TemporaryDirectory directory;
  const fs::path folder = directory / "cifar", file = folder / "data_batch_3.bin";
  const auto fault = [&](const std::string& bytes) {
    write_cifar10(folder);
    write(file, bytes);
    return message_of<DataError>([&] { data::read_cifar10(folder); });
  };
  CHECK(fault(record({1}).substr(1))
            .starts_with(file.string() +
                         ": 3072 bytes are no whole number of records of 3073 (at byte 0)"));
  CHECK(contains(fault(record({1}) + "x"),
                 "3074 bytes are no whole number of records of 3073 "
                 "(at byte 3073)"));
  CHECK(contains(fault(""), "0 bytes are no whole number"));
  CHECK(contains(fault(record({1}) + record({10})),
                 "the class 10 of sample 1 is outside 0..9 (at byte 3073)"));
  write(folder / "batches.meta.txt", "a\nb\n");
  CHECK(contains(fault(record({1})), "batches.meta.txt: 2 names of classes, where there are 10"));
  fs::remove(file);
  CHECK(contains(message_of([&] { data::read_cifar10(folder); }),
                 "no such file, nor in cifar-10-batches-bin, neither plain nor with .gz"));
}

TEST_CASE("images are read as Pillow reads them") {
  if (!reads_images()) {
    CHECK(contains(message_of([] { data::read_image(kFiles / "colours.png"); }),
                   "install libpng-dev and libturbojpeg0-dev"));
    return;
  }
  int compared = 0;
  const std::vector<NamedTensor> arrays = read_npz(kFiles / "images.npz");
  for (const NamedTensor& array : arrays) {
    const std::string& name = array.name;
    const Tensor& wanted = array.value;
    CAPTURE(name);
    if (name.starts_with("resized/")) {
      const Tensor image = data::read_image(
          kFiles / "colours.png", {.height = wanted.shape()[0], .width = wanted.shape()[1]});
      CHECK(image.shape() == wanted.shape());
      CHECK(largest_difference(image, wanted) <= 1);
    } else {
      const bool is_grey = name.ends_with("/grey");
      const fs::path file = kFiles / name.substr(0, name.find('/'));
      const Tensor image = data::read_image(file, {.channels = is_grey ? 1 : 3});
      CHECK(image.shape() == Shape{13, 17, is_grey ? 1 : 3});
      // Others' decoders of JPEG may round otherwise.
      CHECK(largest_difference(image, wanted) <= (file.extension() == ".jpg" ? 3 : 0));
    }
    ++compared;
  }
  CHECK(compared == 24);
}

TEST_CASE("broken images are refused") {
  if (!reads_images()) return;
  const TemporaryDirectory directory;
  const fs::path path = directory / "a";
  const auto fault = [&](const std::string& bytes) {
    return message_of<DataError>([&] { data::read_image(write(path, bytes)); });
  };
  CHECK(fault("").starts_with(path.string() +
                              ": neither a PNG nor a JPEG file: it starts with neither's "
                              "mark (at byte 0)"));
  CHECK(contains(message_of([] { data::read_image(kFiles / "printed.jpg"); }), "(CMYK)"));
  for (const char* name : {"colours.png", "palette.png", "colours.jpg", "progressive.jpg"}) {
    CAPTURE(name);
    const std::string good = contents(kFiles / name);
    for (std::size_t at = 0; at < good.size() - 2; ++at) {
      CAPTURE(at);
      CHECK(fault(good.substr(0, at)) != "(no error)");
      std::string changed = good;
      changed[at] = static_cast<char>(changed[at] ^ 0x15);
      fault(changed);  // an error, or another picture
    }
  }
  // A header of 2^20 by 2^20 pixels, with a checksum that fits.
  std::string large = contents(kFiles / "colours.png").substr(0, 33);
  const unsigned char header[] = {0, 0x10, 0, 0, 0, 0x10, 0, 0, 8, 2, 0, 0, 0};
  std::copy(std::begin(header), std::end(header), large.begin() + 16);
  CHECK(contains(fault(large), "no whole PNG file"));
  CHECK(contains(message_of([] { data::read_image(kFiles / "grey.png", {.channels = 2}); }),
                 "images: 2 channels; 1 or 3 can be  (test_data_readers"));
  for (const data::ImageOptions& options :
       {data::ImageOptions{.height = 3}, data::ImageOptions{.height = -1, .width = -1},
        data::ImageOptions{.height = 1 << 20, .width = 1}, data::ImageOptions{.threads = -1}})
    CHECK_THROWS_AS(data::read_image(kFiles / "grey.png", options), BuildError);
}

TEST_CASE("images are written as PNG") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "a.png";
  const Tensor bytes =
      Tensor::from(std::vector<std::uint8_t>{0, 1, 127, 128, 254, 255}, {1, 2, 3});
  if (!reads_images()) {
    CHECK(contains(message_of<DataError>([&] { data::write_png(path, bytes); }),
                   "install libpng-dev and libturbojpeg0-dev"));
    return;
  }
  data::write_png(path, bytes);
  CHECK(largest_difference(data::read_image(path), bytes) == 0);
  for (const Shape& shape : {Shape{3, 2}, Shape{3, 2, 1}}) {
    const Tensor grey = Tensor::from(std::vector<float>{0, 0.5F, 1, 2, -1, 0.25F}, shape);
    data::write_png(path, grey);
    CHECK(largest_difference(
              data::read_image(path, {.channels = 1}),
              Tensor::from(std::vector<std::uint8_t>{0, 128, 255, 255, 0, 64}, {3, 2, 1})) == 0);
  }
  const auto fault = [&](const Tensor& image) {
    return message_of<BuildError>([&] { data::write_png(path, image); });
  };
  CHECK(contains(fault(Tensor::zeros(int64, {2, 2})), "or float32 from 0 to 1, not int64"));
  CHECK(contains(fault(Tensor::zeros(uint8, {2, 2, 4})), "or [H,W,3], not [2,2,4]"));
  CHECK(contains(fault(Tensor::zeros(uint8, {0, 2})), "0 by 2 pixels; 1 to 1048576 can be"));
  CHECK(contains(fault(Tensor::zeros(uint8, {1, 1 << 21})), "1 by 2097152 pixels"));
  CHECK(contains(fault(Tensor()), "the tensor is empty"));
  CHECK(contains(fault(Tensor{{0.F, std::nanf("")}}), "element 1 is NaN"));
  CHECK(contains(message_of<DataError>([&] { data::write_png(directory / "b" / "c", bytes); }),
                 "No such file or directory"));
}

TEST_CASE("images stand side by side") {
  const Tensor images = Tensor::from(
      std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {3, 2, 2, 1});
  const Tensor wanted = Tensor::from(
      std::vector<std::uint8_t>{1, 2, 5, 6, 3, 4, 7, 8, 9, 10, 0, 0, 11, 12, 0, 0}, {4, 4, 1});
  CHECK(data::side_by_side(images, 2).shape() == wanted.shape());
  CHECK(largest_difference(data::side_by_side(images, 2), wanted) == 0);
  CHECK(data::side_by_side(Tensor::zeros(float32, {0, 2, 2, 3}), 4).shape() == Shape{0, 8, 3});
  CHECK(contains(message_of([&] { data::side_by_side(images, 0); }),
                 "not [3,2,2,1] and 0  (test_data_readers"));
  CHECK(contains(message_of([&] { data::side_by_side(Tensor(), 1); }), "not nothing and 1"));
}

TEST_CASE("a folder of images has a folder for each class") {
  if (!reads_images()) return;
  const TemporaryDirectory directory;
  const fs::path folder = directory / "all";
  const auto put = [&](const char* file, const char* to) {
    fs::create_directories((folder / to).parent_path());
    fs::copy_file(kFiles / file, folder / to);
  };
  const auto fault = [&] { return message_of([&] { data::read_image_folder(folder); }); };
  CHECK(contains(fault(), "No such file or directory"));
  fs::create_directories(folder);
  CHECK(contains(fault(), "has no folders, one for each class"));
  put("colours.png", "oak/2.png");
  put("grey.jpg", "oak/1.JPG");
  put("colours.jpg", "beech/x.jpeg");
  write(folder / "oak/notes.txt", "no image");
  write(folder / "readme.txt", "no class");
  write(folder / ".hidden/file", "no class");
  data::Dataset set = data::read_image_folder(folder);
  CHECK(set["images"].shape() == Shape{3, 13, 17, 3});
  CHECK(set["labels"].to_string() == "int64[3] [0, 1, 1]");
  CHECK(set.classes("labels") == std::vector<std::string>{"beech", "oak"});
  const Tensor second = set.subset(2, 3)["images"];
  CHECK(largest_difference(second, data::read_image(kFiles / "colours.png")) == 0);
  CHECK(data::read_image_folder(folder, {.channels = 1, .height = 4, .width = 5})["images"]
            .shape() == Shape{3, 4, 5, 1});

  fs::create_directories(folder / "empty");
  CHECK(contains(fault(), "empty: has no images (.png, .jpg, .jpeg)"));
  fs::remove(folder / "empty");
  write(folder / "oak/3.png", "no image");
  CHECK(contains(fault(), "oak/3.png: neither a PNG nor a JPEG file"));
}

TEST_CASE("images of different sizes are refused, or made one size") {
  if (!reads_images()) return;
  const TemporaryDirectory directory;
  fs::create_directories(directory / "all/a");
  fs::copy_file(kFiles / "pixel.png", directory / "all/a/1.png");
  fs::create_directories(directory / "all/b");
  fs::copy_file(kFiles / "colours.png", directory / "all/b/2.png");
  const std::string fault = message_of([&] { data::read_image_folder(directory / "all"); });
  CAPTURE(fault);
  CHECK(contains(fault, "2.png: has 13 by 17 pixels, but "));
  CHECK(contains(fault, "1.png has 1 by 1; ImageOptions::height and width make them one size"));
}

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <future>
#include <string>
#include <string_view>
#include <utility>

#include "core/cache_folder.h"
#include "core/text.h"
#include "gradgraph/data.h"
#include "io/files/at_line.h"

namespace gradgraph::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTrainImages = "train-images-idx3-ubyte";
constexpr std::string_view kTrainLabels = "train-labels-idx1-ubyte";
constexpr std::string_view kTestImages = "t10k-images-idx3-ubyte";
constexpr std::string_view kTestLabels = "t10k-labels-idx1-ubyte";
constexpr std::int64_t kMnistSide = 28;
constexpr std::uint8_t kClasses = 10;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// `name` in `directory`, plain or with ".gz", also as some archives have it, with a dot before
/// "idx"; an empty path when it is not there.
fs::path find_file(const fs::path& directory, std::string_view name) {
  std::string dotted(name);
  dotted[dotted.rfind("-idx")] = '.';
  for (const std::string& spelling : {std::string(name), dotted})
    for (const char* const suffix : {"", ".gz"})
      if (fs::path path = directory / (spelling + suffix); is_there(path)) return path;
  return {};
}

fs::path require_file(const fs::path& directory, std::string_view name) {
  fs::path path = find_file(directory, name);
  if (path.empty())
    throw DataError(fmt::format("{}: {}", (directory / name).string(),
                                is_there(directory)
                                    ? "no such file, neither plain nor with .gz"
                                    : "no such file, and the directory is not there either"));
  return path;
}

[[noreturn]] void fail(const fs::path& path, std::string_view fault) {
  throw DataError(fmt::format("{}: {}", path.string(), fault));
}

Tensor read_images(const fs::path& path) {
  const Tensor images = read_idx(path, {});
  const Shape& shape = images.shape();
  if (images.dtype() != uint8 || shape.rank() != 3 || shape[1] != kMnistSide ||
      shape[2] != kMnistSide)
    fail(path,
         fmt::format("MNIST images are uint8[N,28,28], this is {}{}", images.dtype(), shape));
  if (shape[0] == 0) fail(path, "holds no images");
  return images.reshaped({shape[0], kMnistSide, kMnistSide, 1});
}

Tensor read_labels(const fs::path& path) {
  const Tensor labels = read_idx(path, {});
  if (labels.dtype() != uint8 || labels.shape().rank() != 1)
    fail(path,
         fmt::format("MNIST labels are uint8[N], this is {}{}", labels.dtype(), labels.shape()));
  const auto values = labels.span<std::uint8_t>();
  const auto bad =
      std::find_if(values.begin(), values.end(), [](std::uint8_t v) { return v >= kClasses; });
  if (bad != values.end())
    fail(path, fmt::format("label {} of sample {} is outside 0..9", *bad, bad - values.begin()));
  return labels.cast(int64);
}

Dataset read_pair(const fs::path& images_path, const fs::path& labels_path) {
  const Tensor images = read_images(images_path), labels = read_labels(labels_path);
  if (images.shape()[0] != labels.shape()[0])
    fail(labels_path, fmt::format("{} labels for the {} images of {}", labels.shape()[0],
                                  images.shape()[0], images_path.filename().string()));
  return {{"images", images}, {"labels", labels}};
}

/// Where `run` puts what it downloads; empty when there is no home.
fs::path cache_directory() {
  const fs::path cache = cache_folder();
  return cache.empty() ? cache : cache / "mnist";
}

Mnist read_files(const fs::path& directory) {
  // All names first: a missing file is reported before the others have been read.
  const fs::path train_images = require_file(directory, kTrainImages);
  const fs::path train_labels = require_file(directory, kTrainLabels);
  const fs::path test_images = require_file(directory, kTestImages);
  const fs::path test_labels = require_file(directory, kTestLabels);
  // Decompressing the training images takes longer than all else: that goes on beside it.
  auto test = std::async(std::launch::async, [&] { return read_pair(test_images, test_labels); });
  Mnist mnist;
  mnist.train = read_pair(train_images, train_labels);
  mnist.test = test.get();
  mnist.directory = directory;
  mnist.source = fmt::format("MNIST in {}", directory.string());
  return mnist;
}

Mnist read_as(const fs::path& directory, std::string_view data_set, std::string_view remark) {
  Mnist mnist = read_files(directory);
  mnist.source = fmt::format("{} in {} ({})", data_set, directory.string(), remark);
  return mnist;
}

Mnist find_files(const fs::path& directory) {
  if (!directory.empty()) return read_files(directory);
  if (const char* named = std::getenv("MNIST_DIR"); named && *named)
    return read_as(named, "MNIST", "from $MNIST_DIR");

  struct Place {
    fs::path directory;
    std::string_view data_set, remark;
    std::ptrdiff_t least_files;
  };
  // Part of a data set is a fault where a person put it, and nothing where a download stopped.
  const std::array<Place, 3> places = {{
      {"data/mnist", "MNIST", "found there", 1},
      {cache_directory(), "MNIST", "downloaded", 4},
      {"/usr/share/datasets/fashion-mnist", "Fashion-MNIST", "Debian's dataset-fashion-mnist", 4},
  }};
  constexpr std::array kFiles = {kTrainImages, kTrainLabels, kTestImages, kTestLabels};
  std::string searched;
  for (const Place& place : places) {
    if (place.directory.empty()) continue;
    const auto files = std::count_if(kFiles.begin(), kFiles.end(), [&](std::string_view file) {
      return !find_file(place.directory, file).empty();
    });
    if (files >= place.least_files) return read_as(place.directory, place.data_set, place.remark);
    searched += (searched.empty() ? "" : ", ") + place.directory.string();
  }
  throw DataError("no MNIST found in " + searched +
                  "; name its directory with --data or $MNIST_DIR");
}

}  // namespace

Mnist read_mnist(const fs::path& directory, SourceLocation where) {
  return at_line(where, [&] { return read_files(directory); });
}

Mnist find_mnist(const fs::path& directory, SourceLocation where) {
  return at_line(where, [&] { return find_files(directory); });
}

}  // namespace gradgraph::data

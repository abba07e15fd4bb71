#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "core/text.h"
#include "gradgraph/data.h"
#include "io/files/at_line.h"
#include "io/files/input_file.h"

namespace gradgraph::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCifarSide = 32, kPixels = kCifarSide * kCifarSide, kChannels = 3;
constexpr std::size_t kImage = kPixels * kChannels;

/// A class number of every record, before its image.
struct Label {
  const char* array;
  unsigned char classes;
  const char* names;  ///< the file that has them, which may not be there
};

/// `name` in `directory` or its folder `inner`, plain or with .gz; empty where it is not there.
fs::path find_file(const fs::path& directory, const char* inner, const std::string& name) {
  std::error_code ignored;
  for (const fs::path& folder : {directory, directory / inner})
    for (const char* const suffix : {"", ".gz"})
      if (fs::path path = folder / (name + suffix); fs::exists(path, ignored)) return path;
  return {};
}

std::vector<std::string> read_names(const fs::path& path, std::size_t count) {
  InputFile file(path);
  const std::string text = file.read_all();
  std::vector<std::string> names;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string name = text.substr(at, end - at);
    if (name.ends_with('\r')) name.pop_back();
    if (!name.empty()) names.push_back(std::move(name));
    at = end + 1;
  }
  if (names.size() != count)
    file.fail(
        fmt::format("{} names of classes, where there are {} classes", names.size(), count));
  return names;
}

class Reader {
 public:
  Reader(const fs::path& directory, const char* inner, std::vector<Label> labels)
      : directory_(directory), inner_(inner), labels_(std::move(labels)) {}

  Dataset read(const std::vector<std::string>& names) const {
    std::vector<fs::path> paths;
    for (const std::string& name : names) {
      paths.push_back(find_file(directory_, inner_, name));
      if (paths.back().empty())
        fail_file(directory_ / name,
                  fmt::format("no such file, nor in {}, neither plain nor with .gz", inner_));
    }
    std::vector<std::string> contents;
    const std::size_t record = labels_.size() + kImage;
    std::size_t count = 0;
    for (const fs::path& path : paths) {
      InputFile file(path);
      contents.push_back(file.read_all());
      const std::size_t size = contents.back().size();
      if (size == 0 || size % record != 0)
        file.fail_at(size / record * record,
                     fmt::format("{} bytes are no whole number of records of {}", size, record));
      check_classes(file, contents.back(), record);
      count += size / record;
    }
    return assembled(contents, record, static_cast<std::int64_t>(count));
  }

 private:
  void check_classes(const InputFile& file, std::string_view bytes, std::size_t record) const {
    for (std::size_t at = 0; at < bytes.size(); at += record)
      for (std::size_t i = 0; i < labels_.size(); ++i)
        if (const auto number = static_cast<unsigned char>(bytes[at + i]);
            number >= labels_[i].classes)
          file.fail_at(at + i, fmt::format("the class {} of sample {} is outside 0..{}", number,
                                           at / record, labels_[i].classes - 1));
  }

  Dataset assembled(const std::vector<std::string>& contents, std::size_t record,
                    std::int64_t count) const {
    std::vector<NamedTensor> arrays = {
        {"images", Tensor(uint8, {count, kCifarSide, kCifarSide, kChannels})}};
    for (const Label& label : labels_) arrays.push_back({label.array, Tensor(int64, {count})});
    auto* pixel = arrays.front().value.data<std::uint8_t>();
    std::size_t sample = 0;
    for (const std::string& bytes : contents)
      for (std::size_t at = 0; at < bytes.size(); at += record, ++sample) {
        for (std::size_t i = 0; i < labels_.size(); ++i)
          arrays[i + 1].value.data<std::int64_t>()[sample] =
              static_cast<unsigned char>(bytes[at + i]);
        // Stored are planes of red, green and blue.
        const auto* const planes =
            reinterpret_cast<const std::uint8_t*>(bytes.data()) + at + labels_.size();
        for (std::size_t p = 0; p < kPixels; ++p)
          for (std::size_t c = 0; c < kChannels; ++c) *pixel++ = planes[c * kPixels + p];
      }
    Dataset dataset(arrays);
    for (const Label& label : labels_)
      if (const fs::path path = find_file(directory_, inner_, label.names); !path.empty())
        dataset.set_classes(label.array, read_names(path, label.classes));
    return dataset;
  }

  const fs::path& directory_;
  const char* const inner_;
  const std::vector<Label> labels_;
};

}  // namespace

Cifar read_cifar10(const fs::path& directory, SourceLocation where) {
  return at_line(where, [&]() -> Cifar {
    const Reader reader(directory, "cifar-10-batches-bin", {{"labels", 10, "batches.meta.txt"}});
    return {reader.read({"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                         "data_batch_4.bin", "data_batch_5.bin"}),
            reader.read({"test_batch.bin"}), directory};
  });
}

Cifar read_cifar100(const fs::path& directory, SourceLocation where) {
  return at_line(where, [&]() -> Cifar {
    const Reader reader(directory, "cifar-100-binary",
                        {{"coarse_labels", 20, "coarse_label_names.txt"},
                         {"labels", 100, "fine_label_names.txt"}});
    return {reader.read({"train.bin"}), reader.read({"test.bin"}), directory};
  });
}

}  // namespace gradgraph::data

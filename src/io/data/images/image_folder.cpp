#include <algorithm>
#include <atomic>
#include <cctype>
#include <exception>
#include <mutex>

#include "core/text.h"
#include "core/threads.h"
#include "device/parallel.h"
#include "gradgraph/data.h"
#include "io/data/images/decoding.h"
#include "io/files/at_line.h"
#include "io/files/input_file.h"

namespace gradgraph::data {
namespace {

namespace fs = std::filesystem;

void check(const ImageOptions& options, SourceLocation where) {
  constexpr std::int64_t kMost = 1 << 16;
  if (options.channels != 1 && options.channels != 3)
    throw BuildError(fmt::format("images: {} channels; 1 or 3 can be", options.channels), where);
  if (options.height < 0 || options.width < 0 || options.height > kMost ||
      options.width > kMost || (options.height == 0) != (options.width == 0))
    throw BuildError(fmt::format("images: a size of {} by {}; both from 1 to {}, or both 0",
                                 options.height, options.width, kMost),
                     where);
  if (options.threads < 0 || options.threads > kMaxThreads)
    throw BuildError(fmt::format("images: {} threads; 0 (all cores) to {} can be",
                                 options.threads, kMaxThreads),
                     where);
}

Pixels decoded(const fs::path& path, const ImageOptions& options) {
  InputFile file(path);
  Pixels pixels = with_channels(decode_image(path, file.read_all()),
                                static_cast<std::size_t>(options.channels));
  if (options.height == 0) return pixels;
  return resized(pixels, static_cast<std::size_t>(options.height),
                 static_cast<std::size_t>(options.width));
}

bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

/// Those in a folder that are such, sorted by name; hidden ones are passed over.
template <class Predicate>
std::vector<fs::path> entries(const fs::path& folder, const Predicate& predicate) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error))
    if (const fs::path& path = entry->path();
        !path.filename().string().starts_with('.') && predicate(path))
      found.push_back(path);
  if (error) fail_file(folder, error.message());
  std::sort(found.begin(), found.end());
  return found;
}

/// Calls `body(i)` for all of [0, count) on some threads, and throws what the first of those that
/// throw has thrown.
template <class Body>
void for_each_image(std::int64_t count, int threads, const Body& body) {
  std::mutex mutex;
  std::int64_t first = count;
  std::exception_ptr thrown;
  parallel_for(count, 1, thread_count(threads), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      try {
        body(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < first) first = i, thrown = std::current_exception();
        return;
      }
    }
  });
  if (thrown) std::rethrow_exception(thrown);
}

Dataset images_by_class(const fs::path& directory, const ImageOptions& options,
                        SourceLocation where) {
  std::error_code ignored;
  const std::vector<fs::path> folders =
      entries(directory, [&](const fs::path& path) { return fs::is_directory(path, ignored); });
  if (folders.empty()) fail_file(directory, "has no folders, one for each class");
  std::vector<std::string> classes;
  std::vector<fs::path> files;
  std::vector<std::int64_t> numbers;
  for (const fs::path& folder : folders) {
    const std::vector<fs::path> images = entries(folder, is_image);
    if (images.empty()) fail_file(folder, "has no images (.png, .jpg, .jpeg)");
    files.insert(files.end(), images.begin(), images.end());
    numbers.resize(files.size(), static_cast<std::int64_t>(classes.size()));
    classes.push_back(folder.filename().string());
  }

  // Sizes first: memory is for as much as the files hold.
  const auto count = static_cast<std::int64_t>(files.size());
  std::vector<Pixels> sizes(files.size());
  for_each_image(count, options.threads, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    InputFile file(files[at]);
    sizes[at] = image_size(files[at], file.read_all());
  });
  std::int64_t height = options.height, width = options.width;
  if (height == 0) {
    const Pixels& first = sizes.front();
    for (std::size_t i = 0; i < sizes.size(); ++i)
      if (sizes[i].height != first.height || sizes[i].width != first.width)
        fail_file(files[i], fmt::format("has {} by {} pixels, but {} has {} by {}; "
                                        "ImageOptions::height and width make them one size",
                                        sizes[i].height, sizes[i].width, files[0].string(),
                                        first.height, first.width));
    height = static_cast<std::int64_t>(first.height);
    width = static_cast<std::int64_t>(first.width);
  }
  Tensor images(uint8, {count, height, width, options.channels}, where);
  const std::size_t bytes = images.bytes() / files.size();
  for_each_image(count, options.threads, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    const Pixels pixels = decoded(files[at], options);
    if (pixels.bytes.size() != bytes) fail_file(files[at], "has changed while it was read");
    std::ranges::copy(pixels.bytes, images.data<std::uint8_t>() + at * bytes);
  });
  Dataset dataset({{"images", images}, {"labels", Tensor::from(numbers, {count}, where)}}, where);
  dataset.set_classes("labels", std::move(classes));
  return dataset;
}

}  // namespace

Tensor read_image(const fs::path& path, const ImageOptions& options, SourceLocation where) {
  check(options, where);
  const Pixels pixels = at_line(where, [&] { return decoded(path, options); });
  return Tensor::from(std::span<const std::uint8_t>(pixels.bytes),
                      {static_cast<std::int64_t>(pixels.height),
                       static_cast<std::int64_t>(pixels.width), options.channels},
                      where);
}

Dataset read_image_folder(const fs::path& directory, const ImageOptions& options,
                          SourceLocation where) {
  check(options, where);
  return at_line(where, [&] { return images_by_class(directory, options, where); });
}

}  // namespace gradgraph::data

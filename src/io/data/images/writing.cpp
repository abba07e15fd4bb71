#ifdef GRADGRAPH_IMAGES
#include <png.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/text.h"
#include "gradgraph/data.h"
#include "io/data/images/decoding.h"
#include "io/files/at_line.h"
#include "io/files/input_file.h"
#include "io/files/output_file.h"

namespace gradgraph::data {
namespace {

namespace fs = std::filesystem;
using std::int64_t;

constexpr int64_t kMostSide = 1 << 20;  // by which libpng limits a side

void check(const Tensor& image, SourceLocation where) {
  const auto fail = [&](const std::string& fault) {
    throw BuildError("write_png: " + fault, where);
  };
  if (!image) fail("the tensor is empty");
  const Shape& shape = image.shape();
  if (image.dtype() != uint8 && image.dtype() != float32)
    fail(fmt::format("images are uint8, or float32 from 0 to 1, not {}", image.dtype()));
  if (shape.rank() != 2 && (shape.rank() != 3 || (shape[2] != 1 && shape[2] != 3)))
    fail(fmt::format("images are [H,W], [H,W,1] or [H,W,3], not {}", shape));
  if (shape[0] < 1 || shape[1] < 1 || shape[0] > kMostSide || shape[1] > kMostSide)
    fail(fmt::format("{} by {} pixels; 1 to {} can be", shape[0], shape[1], kMostSide));
}

/// Elements as bytes, 0 to 255, of which float32 has 1 for 255.
Tensor as_bytes(const Tensor& image, SourceLocation where) {
  if (image.dtype() == uint8) return image;
  Tensor bytes(uint8, image.shape());
  const std::span<const float> values = image.span<float>();
  const std::span<std::uint8_t> result = bytes.span<std::uint8_t>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i]))
      throw BuildError(fmt::format("write_png: element {} is NaN", i), where);
    result[i] = static_cast<std::uint8_t>(std::lround(std::clamp(values[i], 0.F, 1.F) * 255));
  }
  return bytes;
}

}  // namespace

#ifdef GRADGRAPH_IMAGES

void require_images(SourceLocation) {}

namespace {
void write_pixels(const fs::path& path, const Tensor& pixels) {
  const Shape& shape = pixels.shape();
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.height = static_cast<png_uint_32>(shape[0]);
  png.width = static_cast<png_uint_32>(shape[1]);
  png.format = shape.rank() == 3 && shape[2] == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::vector<std::byte> file(size);
  if (png_image_write_to_memory(&png, file.data(), &size, 0, pixels.data<std::uint8_t>(), 0,
                                nullptr) == 0)
    fail_file(path, fmt::format("cannot be written as PNG: {}", png.message));
  OutputFile output(path);
  output.write(file.data(), size);
  output.commit();
}
}  // namespace

void write_png(const fs::path& path, const Tensor& image, SourceLocation where) {
  check(image, where);
  const Tensor pixels = as_bytes(image, where);
  at_line(where, [&] { write_pixels(path, pixels); });
}

#else

void require_images(SourceLocation where) { throw DataError(std::string(kBuiltWithout), where); }

void write_png(const fs::path& path, const Tensor& image, SourceLocation where) {
  check(image, where);
  as_bytes(image, where);
  at_line(where, [&] { fail_file(path, kBuiltWithout); });
}

#endif

Tensor side_by_side(const Tensor& images, int64_t columns, SourceLocation where) {
  if (!images || images.shape().rank() != 4 || columns < 1)
    throw BuildError(fmt::format("side_by_side: takes images [N,H,W,C] and 1 or more columns, "
                                 "not {} and {}",
                                 images ? images.shape().to_string() : "nothing", columns),
                     where);
  const Shape& shape = images.shape();
  const int64_t rows = (shape[0] + columns - 1) / columns;
  Tensor result = Tensor::zeros(images.dtype(), {rows * shape[1], columns * shape[2], shape[3]});
  if (images.num_elements() == 0) return result;
  const std::size_t line = images.bytes() / static_cast<std::size_t>(shape[0] * shape[1]);
  const auto* from = static_cast<const std::byte*>(images.raw());
  auto* const to = static_cast<std::byte*>(result.raw());
  for (int64_t i = 0; i < shape[0]; ++i)
    for (int64_t y = 0; y < shape[1]; ++y, from += line)
      std::memcpy(
          to + static_cast<std::size_t>(((i / columns * shape[1]) + y) * columns + i % columns) *
                   line,
          from, line);
  return result;
}

}  // namespace gradgraph::data

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "gradgraph/source_location.h"

namespace gradgraph::data {

/// What is wrong where a library without libpng and libjpeg-turbo is to do something with images.
inline constexpr std::string_view kBuiltWithout =
    "this library was built without libpng and libjpeg-turbo, so it reads and writes no images: "
    "install libpng-dev and libturbojpeg0-dev and build it again, with -Dimages=enabled";

/// Eight bits for each channel, row by row.
struct Pixels {
  std::size_t height = 0, width = 0;
  std::size_t channels = 0;  ///< 1 or 3
  std::vector<std::uint8_t> bytes;
};

/// Decodes a PNG or JPEG file, whichever its first bytes say. Throws DataError with path and
/// fault, before it takes more memory than a file of this size can fill.
Pixels decode_image(const std::filesystem::path& path, std::string_view file);

/// The same of sizes alone: `bytes` is left empty.
Pixels image_size(const std::filesystem::path& path, std::string_view file);

/// With so many channels: grey ones are repeated, colours become grey.
Pixels with_channels(Pixels pixels, std::size_t channels);

/// Resizes bilinearly, over all of the pixels that a smaller one covers, rows first: to the same
/// bits as Image.resize(..., BILINEAR) of Pillow 11 (Clark et al., src/libImaging/Resample.c);
/// later ones sometimes take columns first, which changes a value by 1.
Pixels resized(const Pixels& pixels, std::size_t height, std::size_t width);

}  // namespace gradgraph::data

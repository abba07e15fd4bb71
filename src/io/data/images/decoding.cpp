#include "io/data/images/decoding.h"

#ifdef GRADGRAPH_IMAGES
#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <memory>
#endif

#include "core/text.h"
#include "io/files/input_file.h"

namespace gradgraph::data {

namespace fs = std::filesystem;

#ifdef GRADGRAPH_IMAGES
namespace {

/// Nobody needs more, and products of these fit 64 bits.
constexpr std::size_t kMostPixels = std::size_t{1} << 20U;

/// Throws where no file of this size holds so many bytes: `factor` is by what its compression
/// shrinks at most.
void check_size(const fs::path& path, const Pixels& pixels, std::size_t file,
                std::size_t factor) {
  if (pixels.height < 1 || pixels.width < 1 || pixels.height > kMostPixels ||
      pixels.width > kMostPixels ||
      pixels.height * pixels.width * pixels.channels / factor > file)
    fail_file(path,
              fmt::format("truncated: the header says {} by {} pixels, but the file has only "
                          "{} bytes",
                          pixels.height, pixels.width, file));
}

/// libpng, whose errors jump: no object that has a destructor lives where they do.
class Png {
 public:
  Png(const fs::path& path, std::string_view file)
      : path_(path), rest_(file), size_(file.size()) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png_) info_ = png_create_info_struct(png_);
    if (!info_) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      fail_file(path_, "there is no memory to decode it");
    }
  }
  ~Png() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  Pixels size() {
    if (!read_header()) fail();
    const Pixels pixels{png_get_image_height(png_, info_),
                        png_get_image_width(png_, info_),
                        png_get_channels(png_, info_),
                        {}};
    check_size(path_, pixels, size_, kFactor);
    if (pixels.channels != 1 && pixels.channels != 3)
      fail_file(path_, fmt::format("{} channels", pixels.channels));
    return pixels;
  }
  Pixels decode() {
    Pixels pixels = size();
    const std::size_t line = pixels.width * pixels.channels;
    pixels.bytes.resize(pixels.height * line);
    std::vector<png_bytep> rows;
    for (std::size_t y = 0; y < pixels.height; ++y) rows.push_back(&pixels.bytes[y * line]);
    if (!read_rows(rows.data())) fail();
    return pixels;
  }

 private:
  static constexpr std::size_t kFactor = 1032 * 8;  // deflate's, of pixels of one bit

  [[noreturn]] void fail() const {
    fail_file(path_, fmt::format("no whole PNG file: {} (at byte {})", message_.data(),
                                 size_ - rest_.size()));
  }
  static void on_error(png_structp png, png_const_charp text) {
    auto& self = *static_cast<Png*>(png_get_error_ptr(png));
    std::strncpy(self.message_.data(), text, self.message_.size() - 1);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep to, png_size_t bytes) {
    auto& self = *static_cast<Png*>(png_get_io_ptr(png));
    if (bytes > self.rest_.size()) png_error(png, "truncated");
    std::memcpy(to, self.rest_.data(), bytes);
    self.rest_.remove_prefix(bytes);
  }

  bool read_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, on_read);
    png_set_user_limits(png_, kMostPixels, kMostPixels);
    // What is not needed may be large.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, 0);
    png_set_chunk_malloc_max(png_, std::max<std::size_t>(size_, 1U << 16U) * 4);
    png_read_info(png_, info_);
    png_set_expand(png_);
    png_set_strip_16(png_);
    png_set_strip_alpha(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool read_rows(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

  const fs::path& path_;
  std::string_view rest_;
  const std::size_t size_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::array<char, 160> message_{};
};

class Jpeg {
 public:
  Jpeg(const fs::path& path, std::string_view file)
      : path_(path), file_(file), decoder_(tjInitDecompress()) {
    if (!decoder_) fail_file(path_, "there is no memory to decode it");
  }
  ~Jpeg() { tjDestroy(decoder_); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;

  Pixels size() {
    int width = 0, height = 0, sampling = 0, colours = 0;
    if (tjDecompressHeader3(decoder_, bytes(), file_.size(), &width, &height, &sampling,
                            &colours) != 0)
      fail();
    if (colours == TJCS_CMYK || colours == TJCS_YCCK)
      fail_file(path_, "its colours are those of printers (CMYK); convert it to RGB");
    const Pixels pixels{static_cast<std::size_t>(height),
                        static_cast<std::size_t>(width),
                        colours == TJCS_GRAY ? std::size_t{1} : std::size_t{3},
                        {}};
    constexpr std::size_t kFactor = 4096;
    check_size(path_, pixels, file_.size(), kFactor);
    return pixels;
  }
  Pixels decode() {
    Pixels pixels = size();
    pixels.bytes.resize(pixels.height * pixels.width * pixels.channels);
    // Files of very many scans take ages, and are made for that only.
    if (tjDecompress2(decoder_, bytes(), file_.size(), pixels.bytes.data(),
                      static_cast<int>(pixels.width), 0, static_cast<int>(pixels.height),
                      pixels.channels == 1 ? TJPF_GRAY : TJPF_RGB,
                      TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0)
      fail();
    return pixels;
  }

 private:
  const unsigned char* bytes() const {
    return reinterpret_cast<const unsigned char*>(file_.data());
  }
  [[noreturn]] void fail() const {
    fail_file(path_, fmt::format("no whole JPEG file: {}", tjGetErrorStr2(decoder_)));
  }

  const fs::path& path_;
  const std::string_view file_;
  tjhandle decoder_;
};

template <class Function>
Pixels with_decoder(const fs::path& path, std::string_view file, const Function& function) {
  if (file.starts_with("\x89PNG\r\n\x1A\n")) {
    Png png(path, file);
    return function(png);
  }
  if (file.starts_with("\xFF\xD8\xFF")) {
    Jpeg jpeg(path, file);
    return function(jpeg);
  }
  fail_file(path, "neither a PNG nor a JPEG file: it starts with neither's mark (at byte 0)");
}

}  // namespace

Pixels decode_image(const fs::path& path, std::string_view file) {
  return with_decoder(path, file, [](auto& decoder) { return decoder.decode(); });
}
Pixels image_size(const fs::path& path, std::string_view file) {
  return with_decoder(path, file, [](auto& decoder) { return decoder.size(); });
}

#else

Pixels decode_image(const fs::path& path, std::string_view) { fail_file(path, kBuiltWithout); }
Pixels image_size(const fs::path& path, std::string_view) { fail_file(path, kBuiltWithout); }

#endif

Pixels with_channels(Pixels pixels, std::size_t channels) {
  if (pixels.channels == channels) return pixels;
  const std::size_t count = pixels.height * pixels.width;
  Pixels result{pixels.height, pixels.width, channels,
                std::vector<std::uint8_t>(count * channels)};
  const std::uint8_t* in = pixels.bytes.data();
  for (std::size_t i = 0; i < count; ++i) {
    if (channels == 3) {
      for (std::size_t c = 0; c < 3; ++c) result.bytes[i * 3 + c] = in[i];
    } else {
      // ITU-R 601, in 16 bits behind the point, as Pillow rounds it.
      const unsigned grey = in[i * 3] * 19595U + in[i * 3 + 1] * 38470U + in[i * 3 + 2] * 7471U;
      result.bytes[i] = static_cast<std::uint8_t>((grey + 0x8000U) >> 16U);
    }
  }
  return result;
}

}  // namespace gradgraph::data

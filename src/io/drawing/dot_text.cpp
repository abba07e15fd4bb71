#include "io/drawing/dot_text.h"

#include <algorithm>

namespace gradgraph {
namespace {

/// The length of the UTF-8 sequence at the start of `text`, or 0 where it is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80               ? 1
                             : (byte(0) & 0xE0u) == 0xC0u ? 2
                             : (byte(0) & 0xF0u) == 0xE0u ? 3
                             : (byte(0) & 0xF8u) == 0xF0u ? 4
                                                          : 0;
  if (length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0u) != 0x80u) return 0;
  return length;
}

constexpr std::size_t kMaxCharacters = 200;

template <class Put>
void for_each_character(std::string_view text, const Put& put) {
  for (std::size_t count = 0; !text.empty(); ++count) {
    if (count == kMaxCharacters) return put("...");
    const std::size_t length = utf8_length(text);
    const bool shown = length > 1 || (length == 1 && text[0] >= ' ' && text[0] != '\x7F');
    put(shown ? text.substr(0, length) : std::string_view("?"));
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

}  // namespace

std::string quote(std::string_view text) {
  std::string result = "\"";
  for_each_character(text, [&](std::string_view character) {
    if (character == "\"" || character == "\\") result += '\\';
    result += character;
  });
  return result + '"';
}

std::string html(std::string_view text) {
  std::string result;
  for_each_character(text, [&](std::string_view character) {
    if (character == "&")
      result += "&amp;";
    else if (character == "<")
      result += "&lt;";
    else if (character == ">")
      result += "&gt;";
    else if (character == "\"")
      result += "&quot;";
    else
      result += character;
  });
  return result;
}

}  // namespace gradgraph

#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// Texts as numbers.
namespace text {

/// README.md and docs/*.md of the source tree.
inline std::vector<std::filesystem::path> documents() {
  const std::filesystem::path root = std::filesystem::path(SOURCES).parent_path();
  std::vector<std::filesystem::path> found;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(root / "docs", none))
    if (entry.path().extension() == ".md") found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  found.insert(found.begin(), root / "README.md");
  return found;
}

inline std::string read(const std::vector<std::filesystem::path>& files) {
  std::string text;
  for (const std::filesystem::path& path : files) {
    std::ifstream file(path, std::ios::binary);
    if (!file || std::filesystem::is_directory(path))
      throw gg::DataError(path.string() + ": cannot be read; name texts with --text");
    text.append(std::istreambuf_iterator<char>(file), {});
  }
  return text;
}

/// The text's characters, in numbers from 0 on.
struct Alphabet {
  explicit Alphabet(const std::string& text) : characters(text) {
    std::sort(characters.begin(), characters.end());
    characters.erase(std::unique(characters.begin(), characters.end()), characters.end());
  }
  std::int64_t size() const { return std::ssize(characters); }
  std::int32_t number(char c) const { return static_cast<std::int32_t>(characters.find(c)); }
  std::string characters;
};

/// Pieces of the text, each with the character that follows it: int32 [pieces, length + 1].
inline gg::Tensor pieces(const std::string& text, const Alphabet& alphabet, std::int64_t length) {
  const std::int64_t count = (std::ssize(text) - 1) / length;
  gg::Tensor result(gg::int32, {std::max<std::int64_t>(count, 0), length + 1});
  for (std::int64_t i = 0, k = 0; i < count; ++i)
    for (std::int64_t j = 0; j <= length; ++j, ++k)
      result.data<std::int32_t>()[k] =
          alphabet.number(text[static_cast<std::size_t>(i * length + j)]);
  return result;
}

}  // namespace text

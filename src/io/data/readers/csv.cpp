#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <string>
#include <string_view>

#include "core/text.h"
#include "gradgraph/data.h"
#include "io/files/at_line.h"
#include "io/files/input_file.h"

namespace gradgraph::data {
namespace {

/// A field, and where it stands.
struct Field {
  std::string_view text;
  bool quoted = false;
  std::uint64_t line = 0, offset = 0;
};

/// Takes a text apart, line by line.
class Lines {
 public:
  Lines(const InputFile& file, std::string_view text, const CsvOptions& options)
      : file_(file), text_(text), options_(options) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;  // the mark of UTF-8
  }

  /// The next line's fields, which are good until the next call; empty at the end.
  const std::vector<Field>& next() {
    fields_.clear();
    used_ = 0;
    while (at_ < text_.size() && take_line_end()) ++line_;
    if (at_ == text_.size()) return fields_;
    while (true) {
      fields_.push_back(field());
      if (at_ == text_.size() || take_line_end()) break;
      ++at_;  // the separator
      if (fields_.size() == kMostColumns)
        fail(fields_.back(), fmt::format("more than {} columns", kMostColumns));
    }
    ++line_;
    return fields_;
  }
  [[noreturn]] void fail(const Field& field, std::string_view fault) const {
    file_.fail_at(field.offset, fmt::format("line {}: {}", field.line, fault));
  }

 private:
  static constexpr std::size_t kMostColumns = std::size_t{1} << 16U;

  bool take_line_end() {
    if (text_[at_] == '\n')
      ++at_;
    else if (text_.substr(at_, 2) == "\r\n")
      at_ += 2;
    else
      return false;
    return true;
  }
  bool is_end(std::size_t at) const {
    return at == text_.size() || text_[at] == options_.separator || text_[at] == '\n' ||
           text_.substr(at, 2) == "\r\n";
  }
  Field field() {
    Field field{.line = line_, .offset = at_};
    if (at_ < text_.size() && text_[at_] == options_.quote) {
      field.quoted = true;
      field.text = quoted(field);
    } else {
      const std::size_t begin = at_;
      while (!is_end(at_)) ++at_;
      field.text = text_.substr(begin, at_ - begin);
    }
    if (field.text.find('\0') != std::string_view::npos)
      fail(field, "a zero byte: this is no text");
    return field;
  }
  std::string_view quoted(const Field& start) {
    if (used_ == unescaped_.size()) unescaped_.emplace_back(std::make_unique<std::string>());
    std::string& inside = *unescaped_[used_++];
    inside.clear();
    for (++at_;; ++at_) {
      if (at_ == text_.size()) fail(start, "the quote is not closed");
      if (text_[at_] == options_.quote) {
        if (++at_ == text_.size() || text_[at_] != options_.quote) break;
      } else if (text_[at_] == '\n') {
        ++line_;
      }
      inside += text_[at_];
    }
    if (!is_end(at_)) fail(start, "something stands behind the quote that ends a field");
    return inside;
  }

  const InputFile& file_;
  const std::string_view text_;
  const CsvOptions& options_;
  std::size_t at_ = 0;
  std::uint64_t line_ = 1;
  std::vector<Field> fields_;
  std::vector<std::unique_ptr<std::string>> unescaped_;
  std::size_t used_ = 0;
};

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

/// Whether all of the text is such a number.
template <class T>
bool parse(std::string_view text, T& value) {
  text = trimmed(text);
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc{} && stop == end;
}

struct Column {
  std::string name;
  ColumnType type = ColumnType::int64;
  bool given = false, has_missing = false;
  std::set<std::string, std::less<>>
      texts;                         ///< all that are not missing, where they may be classes
  std::vector<std::string> classes;  ///< sorted by number
  std::vector<std::pair<std::string_view, std::int64_t>> numbers;  ///< of classes, sorted by name
  Tensor values;
};

class Table {
 public:
  Table(const InputFile& file, std::string_view text, const CsvOptions& options,
        SourceLocation where)
      : file_(file), text_(text), options_(options), where_(where) {
    const std::string_view line_ends = "\r\n";
    if (options.separator == options.quote || options.separator == '\0' ||
        line_ends.find(options.separator) != std::string_view::npos ||
        line_ends.find(options.quote) != std::string_view::npos)
      throw BuildError("read_csv: separator and quote must differ, and be no line ends", where);
  }

  Dataset read() {
    name_columns();
    infer();
    for (Column& column : columns_) number_classes(column);
    fill();
    std::vector<NamedTensor> arrays;
    for (Column& column : columns_) arrays.push_back({column.name, std::move(column.values)});
    Dataset dataset(arrays, where_);
    for (Column& column : columns_)
      if (column.type == ColumnType::classes)
        dataset.set_classes(column.name, std::move(column.classes));
    return dataset;
  }

 private:
  void name_columns() {
    Lines lines(file_, text_, options_);
    const std::vector<Field>& first = lines.next();
    if (first.empty()) file_.fail_at(0, "a table without a line");
    std::set<std::string_view> known;
    columns_.resize(first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      Column& column = columns_[i];
      if (options_.header) column.name = trimmed(first[i].text);
      if (column.name.empty()) column.name = std::to_string(i);
      if (!known.insert(column.name).second)
        lines.fail(first[i], fmt::format("two columns are called '{}'", column.name));
      if (const auto type = options_.types.find(column.name); type != options_.types.end())
        column.type = type->second, column.given = true;
      if (!options_.classes.contains(column.name)) continue;
      if (column.given && column.type != ColumnType::classes)
        throw BuildError(
            fmt::format("read_csv: '{}' has names of classes, but is to be numbers", column.name),
            where_);
      column.type = ColumnType::classes, column.given = true;
    }
    const auto check = [&](const auto& map) {
      for (const auto& [name, value] : map)
        if (!known.contains(name))
          throw BuildError(
              fmt::format("read_csv: {} has no column '{}'", file_.path().string(), name),
              where_);
    };
    check(options_.types);
    check(options_.classes);
  }

  /// Calls `body(column, field)` for all fields behind the header.
  template <class Body>
  void for_each(const Body& body) {
    Lines lines(file_, text_, options_);
    if (options_.header) lines.next();
    rows_ = 0;
    while (true) {
      const std::vector<Field>& fields = lines.next();
      if (fields.empty()) return;
      if (fields.size() != columns_.size())
        lines.fail(fields.front(), fmt::format("{} fields, but the first line has {}",
                                               fields.size(), columns_.size()));
      for (std::size_t i = 0; i < fields.size(); ++i) body(columns_[i], fields[i]);
      ++rows_;
    }
  }

  bool is_missing(const Field& field) const {
    const std::string_view text = field.quoted ? field.text : trimmed(field.text);
    return std::find(options_.missing.begin(), options_.missing.end(), text) !=
           options_.missing.end();
  }

  /// The narrowest type that has room for all values of a column.
  void infer() {
    for_each([&](Column& column, const Field& field) {
      std::int64_t whole = 0;
      double number = 0;
      if (is_missing(field)) {
        column.has_missing = true;
        if (!column.given && column.type == ColumnType::int64 && options_.fill &&
            *options_.fill != std::floor(*options_.fill))
          column.type = ColumnType::float32;
        return;
      }
      if (!column.given && column.type == ColumnType::int64 && !parse(field.text, whole))
        column.type = ColumnType::float32;
      if (!column.given && column.type == ColumnType::float32 && !parse(field.text, number))
        column.type = ColumnType::classes, is_again_ = true;
      if (column.type == ColumnType::classes && !options_.classes.contains(column.name))
        column.texts.emplace(field.text);
    });
    if (!is_again_) return;
    // What such a column began with may have looked like numbers.
    for_each([&](Column& column, const Field& field) {
      if (column.type == ColumnType::classes && !options_.classes.contains(column.name) &&
          !is_missing(field))
        column.texts.emplace(field.text);
    });
  }

  void number_classes(Column& column) {
    if (column.type != ColumnType::classes) return;
    if (const auto given = options_.classes.find(column.name); given != options_.classes.end()) {
      column.classes = given->second;
    } else {
      if (column.has_missing && options_.fill_class) column.texts.emplace(*options_.fill_class);
      column.classes.assign(column.texts.begin(), column.texts.end());
    }
    column.texts.clear();
    for (std::size_t i = 0; i < column.classes.size(); ++i)
      column.numbers.emplace_back(column.classes[i], static_cast<std::int64_t>(i));
    std::sort(column.numbers.begin(), column.numbers.end());
  }

  [[noreturn]] void fail(const Column& column, const Field& field, std::string_view fault) const {
    file_.fail_at(field.offset,
                  fmt::format("line {}, column '{}': {}", field.line, column.name, fault));
  }

  void fill() {
    for (Column& column : columns_) {
      const DType dtype = column.type == ColumnType::float32   ? float32
                          : column.type == ColumnType::float64 ? float64
                                                               : int64;
      column.values = Tensor(dtype, {rows_}, where_);
    }
    for_each([&](Column& column, const Field& field) {
      switch (column.type) {
        case ColumnType::int64: set_whole(column, field); break;
        case ColumnType::float32: set_number<float>(column, field); break;
        case ColumnType::float64: set_number<double>(column, field); break;
        case ColumnType::classes: set_class(column, field); break;
      }
    });
  }

  double filled(const Column& column, const Field& field) const {
    if (!options_.fill)
      fail(column, field, "the value is missing; CsvOptions::fill says what for");
    return *options_.fill;
  }
  void set_whole(Column& column, const Field& field) {
    std::int64_t& value = column.values.data<std::int64_t>()[rows_];
    if (is_missing(field)) {
      constexpr double kLimit = 0x1p63;
      const double number = filled(column, field);
      if (number != std::floor(number) || number < -kLimit || number >= kLimit)
        fail(column, field, fmt::format("{} is no whole number to fill with", number));
      value = static_cast<std::int64_t>(number);
    } else if (!parse(field.text, value)) {
      fail(column, field, fmt::format("'{}' is no whole number of 64 bits", shortened(field)));
    }
  }
  template <class T>
  void set_number(Column& column, const Field& field) {
    double number = 0;
    if (is_missing(field))
      number = filled(column, field);
    else if (!parse(field.text, number))
      fail(column, field,
           fmt::format("'{}' is no number, or one beyond float64", shortened(field)));
    const T value = static_cast<T>(number);
    if (std::isinf(value) && !std::isinf(number))
      fail(column, field,
           fmt::format("'{}' is more than float32 holds; ask for float64", shortened(field)));
    column.values.data<T>()[rows_] = value;
  }
  void set_class(Column& column, const Field& field) {
    std::string_view name = field.text;
    if (is_missing(field)) {
      if (!options_.fill_class)
        fail(column, field, "the class is missing; CsvOptions::fill_class says what for");
      name = *options_.fill_class;
    }
    const auto found = std::lower_bound(
        column.numbers.begin(), column.numbers.end(), name,
        [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
    if (found == column.numbers.end() || found->first != name)
      fail(column, field, fmt::format("'{}' is none of the classes", shortened(field)));
    column.values.data<std::int64_t>()[rows_] = found->second;
  }
  static std::string shortened(const Field& field) {
    constexpr std::size_t kMost = 40;
    return std::string(field.text.substr(0, kMost)) + (field.text.size() > kMost ? "..." : "");
  }

  const InputFile& file_;
  const std::string_view text_;
  const CsvOptions& options_;
  const SourceLocation where_;
  std::vector<Column> columns_;
  std::int64_t rows_ = 0;
  bool is_again_ = false;  ///< a column turned out to be classes on the way
};

}  // namespace

Dataset read_csv(const std::filesystem::path& path, const CsvOptions& options,
                 SourceLocation where) {
  return at_line(where, [&] {
    InputFile file(path);
    const std::string text = file.read_all();
    return Table(file, text, options, where).read();
  });
}

}  // namespace gradgraph::data

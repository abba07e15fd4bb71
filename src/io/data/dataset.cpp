#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/convert.h"
#include "core/text.h"
#include "gradgraph/data.h"
#include "io/data/array_names.h"

namespace gradgraph::data {

struct Dataset::Contents {
  std::vector<std::string> names;
  std::vector<Tensor> arrays;
  std::vector<std::vector<std::string>> classes;
};

std::size_t find_array(const std::vector<std::string>& names, const ArrayName& name,
                       std::string_view owner) {
  const auto found = std::find(names.begin(), names.end(), name.name);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  throw BuildError(
      fmt::format("{} has no array '{}'; it has {}", owner, name.name,
                  names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))),
      name.where);
}

void check_arrays(const std::vector<NamedTensor>& arrays, std::string_view owner,
                  SourceLocation where) {
  for (auto array = arrays.begin(); array != arrays.end(); ++array) {
    const std::string& name = array->name;
    const Tensor& values = array->value;
    if (name.empty()) throw BuildError(fmt::format("{}: an array has no name", owner), where);
    if (std::any_of(arrays.begin(), array, [&](const auto& other) { return other.name == name; }))
      throw BuildError(fmt::format("{}: two arrays are called '{}'", owner, name), where);
    if (!values || values.shape().rank() == 0)
      throw BuildError(fmt::format("{}: '{}' has no first axis, of samples", owner, name), where);
    if (const auto& [first, others] = arrays.front(); values.shape()[0] != others.shape()[0])
      throw BuildError(fmt::format("{}: '{}' has {} samples, but '{}' has {}", owner, first,
                                   others.shape()[0], name, values.shape()[0]),
                       where);
  }
}

Tensor leading(const Tensor& tensor, std::int64_t count) {
  Shape shape = tensor.shape();
  if (shape[0] == count) return tensor;
  shape.set(0, count);
  auto owner = std::make_shared<Tensor>(tensor);
  return Tensor::wrap(tensor.dtype(), shape, owner->raw(), owner);
}

Dataset::Dataset(std::initializer_list<NamedTensor> arrays, SourceLocation where)
    : Dataset(std::vector<NamedTensor>(arrays), where) {}

Dataset::Dataset(const std::vector<NamedTensor>& arrays, SourceLocation where) {
  check_arrays(arrays, "a data set", where);
  Contents contents;
  for (const auto& [name, values] : arrays) {
    contents.names.push_back(name);
    contents.arrays.push_back(values);
  }
  contents.classes.resize(arrays.size());
  size_ = arrays.empty() ? 0 : contents.arrays.front().shape()[0];
  contents_ = std::make_shared<const Contents>(std::move(contents));
}

const std::vector<std::string>& Dataset::names() const {
  static const std::vector<std::string> none;
  return contents_ ? contents_->names : none;
}

const std::vector<Tensor>& Dataset::stored() const {
  static const std::vector<Tensor> none;
  return contents_ ? contents_->arrays : none;
}

bool Dataset::contains(std::string_view name) const {
  return std::find(names().begin(), names().end(), name) != names().end();
}

std::size_t Dataset::index_of(const ArrayName& name) const {
  return find_array(names(), name, "the data set");
}

Tensor Dataset::operator[](ArrayName name) const {
  const Tensor& all = stored()[index_of(name)];
  if (!positions_ && begin_ == 0) return leading(all, size_);
  Shape shape = all.shape();
  shape.set(0, size_);
  Tensor chosen(all.dtype(), shape, name.where);
  if (chosen.bytes() == 0) return chosen;
  const std::size_t bytes = chosen.bytes() / static_cast<std::size_t>(size_);
  const auto* const from = static_cast<const std::byte*>(all.raw());
  auto* const to = static_cast<std::byte*>(chosen.raw());
  for (std::int64_t i = 0; i < size_; ++i)
    std::memcpy(to + static_cast<std::size_t>(i) * bytes,
                from + static_cast<std::size_t>(position(i)) * bytes, bytes);
  return chosen;
}

const std::vector<std::string>& Dataset::classes(ArrayName name) const {
  const std::size_t index = index_of(name);
  return contents_->classes[index];
}

void Dataset::set_classes(ArrayName name, std::vector<std::string> classes) {
  const std::size_t index = index_of(name);
  Contents changed = *contents_;
  changed.classes[index] = std::move(classes);
  contents_ = std::make_shared<const Contents>(std::move(changed));
}

Dataset Dataset::first(std::int64_t limit, SourceLocation where) const {
  if (limit < 0)
    throw BuildError(fmt::format("a data set has no first {} samples", limit), where);
  if (limit == 0 || limit >= size_) return *this;
  return subset(0, limit, where);
}

Dataset Dataset::subset(std::int64_t begin, std::int64_t end, SourceLocation where) const {
  if (begin < 0 || begin > end || end > size_)
    throw BuildError(
        fmt::format("a data set of {} samples has none from {} to {}", size_, begin, end), where);
  Dataset part = *this;
  part.size_ = end - begin;
  if (!positions_) {
    part.begin_ += begin;
  } else {
    part.positions_ = Tensor(int64, {end - begin}, where);
    std::copy_n(positions_.data<std::int64_t>() + begin, end - begin,
                part.positions_.data<std::int64_t>());
  }
  return part;
}

Dataset Dataset::subset(std::span<const std::int64_t> samples, SourceLocation where) const {
  Dataset part = *this;
  part.size_ = static_cast<std::int64_t>(samples.size());
  part.begin_ = 0;
  part.positions_ = Tensor(int64, {part.size_}, where);
  auto* out = part.positions_.data<std::int64_t>();
  for (const std::int64_t sample : samples) {
    if (sample < 0 || sample >= size_)
      throw BuildError(fmt::format("a data set of {} samples has no sample {}", size_, sample),
                       where);
    *out++ = position(sample);
  }
  return part;
}

Dataset Dataset::shuffled(std::uint64_t seed, SourceLocation where) const {
  return subset(shuffled_samples(size_, seed, 0, where).span<std::int64_t>(), where);
}

std::pair<Dataset, Dataset> Dataset::split(double fraction, SourceLocation where) const {
  if (!(fraction >= 0 && fraction <= 1))
    throw BuildError(fmt::format("a data set cannot be split at the fraction {}; it must be in "
                                 "[0, 1]",
                                 fraction),
                     where);
  return split_at(std::llround(fraction * static_cast<double>(size_)), where);
}

std::pair<Dataset, Dataset> Dataset::split_at(std::int64_t count, SourceLocation where) const {
  return {subset(0, count, where), subset(count, size_, where)};
}

Tensor stacked(const Dataset& dataset, const std::vector<std::string>& names, DType dtype,
               SourceLocation where) {
  std::vector<Tensor> parts;
  std::int64_t columns = 0;
  for (const std::string& name : names) {
    parts.push_back(dataset[ArrayName(name, where)]);
    const Shape& shape = parts.back().shape();
    if (shape.rank() > 2)
      throw BuildError(fmt::format("stacked: '{}' is {}{}, not of one or two axes", name,
                                   parts.back().dtype(), shape),
                       where);
    columns += shape.rank() == 1 ? 1 : shape[1];
  }
  Tensor result(dtype, {dataset.size(), columns}, where);
  std::int64_t column = 0;
  for (const Tensor& part : parts) {
    const std::int64_t width = part.shape().rank() == 1 ? 1 : part.shape()[1];
    visit_dtype(part.dtype(), [&]<class From>() {
      visit_dtype(dtype, [&]<class To>() {
        const From* from = part.data<From>();
        To* to = result.data<To>() + column;
        for (std::int64_t row = 0; row < dataset.size(); ++row, to += columns)
          for (std::int64_t i = 0; i < width; ++i) to[i] = convert<To>(*from++);
      });
    });
    column += width;
  }
  return result;
}

Batch::Batch(const std::vector<NamedTensor>& arrays, SourceLocation where) {
  check_arrays(arrays, "a batch", where);
  std::vector<std::string> names;
  for (const auto& [name, values] : arrays) {
    names.push_back(name);
    arrays_.push_back(values);
  }
  names_ = std::make_shared<const std::vector<std::string>>(std::move(names));
}

std::int64_t Batch::size() const {
  return arrays_.empty() || arrays_.front().shape().rank() == 0 ? 0 : arrays_.front().shape()[0];
}

std::size_t Batch::index_of(const ArrayName& name) const {
  return find_array(*names_, name, "the batch");
}

}  // namespace gradgraph::data

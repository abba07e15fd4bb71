#include "io/weights/conventions.h"

#include <array>
#include <cstring>
#include <span>
#include <string_view>

namespace gradgraph {
namespace {

struct Name {
  std::string_view stored, variable;  ///< the last parts of names
};
// Of several variables for one name, the graph has at most one.
constexpr std::array<Name, 8> kPytorchNames = {{
    {"weight", "kernel"},
    {"weight", "scale"},
    {"weight", "table"},
    {"bias", "bias"},
    {"bias", "offset"},
    {"running_mean", "running_mean"},
    {"running_var", "running_variance"},
    {"num_batches_tracked", ""},
}};
constexpr std::array<Name, 5> kKerasNames = {{
    {"gamma", "scale"},
    {"beta", "offset"},
    {"moving_mean", "running_mean"},
    {"moving_variance", "running_variance"},
    {"embeddings", "table"},
}};

std::span<const Name> names_of(Convention convention) {
  switch (convention) {
    case Convention::pytorch: return kPytorchNames;
    case Convention::keras: return kKerasNames;
    case Convention::gradgraph: break;
  }
  return {};
}

void replace_all(std::string& text, char from, char to) {
  for (char& c : text)
    if (c == from) c = to;
}

/// The part behind the last slash, and where it begins.
std::size_t last_part(std::string_view name) {
  const auto slash = name.rfind('/');
  return slash == std::string_view::npos ? 0 : slash + 1;
}

/// With our slashes, and without what is the library's own.
std::string plain(Convention convention, std::string stored) {
  if (convention == Convention::pytorch) replace_all(stored, '.', '/');
  if (convention == Convention::keras && stored.ends_with(":0")) stored.resize(stored.size() - 2);
  return stored;
}

Shape reversed_to_variable(const Shape& stored) {
  Shape shape;
  for (int axis = 2; axis < stored.rank(); ++axis) shape.append(stored[axis]);
  shape.append(stored[1]);
  shape.append(stored[0]);
  return shape;
}

/// [a,b,c] becomes [c,b,a].
void reverse_axes(const Tensor& from, Tensor& to, std::int64_t a, std::int64_t b,
                  std::int64_t c) {
  const std::size_t size = size_of(from.dtype());
  const auto* source = static_cast<const char*>(from.raw());
  auto* target = static_cast<char*>(to.raw());
  for (std::int64_t z = 0; z < c; ++z)
    for (std::int64_t y = 0; y < b; ++y)
      for (std::int64_t x = 0; x < a; ++x, target += size)
        std::memcpy(target, source + static_cast<std::size_t>((x * b + y) * c + z) * size, size);
}

}  // namespace

std::vector<std::string> variable_names(Convention convention, const std::string& stored) {
  std::vector<std::string> names = {stored};
  if (convention == Convention::gradgraph) return names;
  const std::string name = plain(convention, stored);
  names.push_back(name);
  const std::size_t last = last_part(name);
  for (const Name& known : names_of(convention))
    if (name.substr(last) == known.stored && !known.variable.empty())
      names.push_back(name.substr(0, last).append(known.variable));
  return names;
}

bool is_dropped(Convention convention, const std::string& stored) {
  const std::string name = plain(convention, stored);
  for (const Name& known : names_of(convention))
    if (known.variable.empty() && name.substr(last_part(name)) == known.stored) return true;
  return false;
}

std::string stored_name(Convention convention, const std::string& variable) {
  std::string name = variable;
  const std::size_t last = last_part(name);
  for (const Name& known : names_of(convention))
    if (variable.substr(last) == known.variable) {
      name = variable.substr(0, last).append(known.stored);
      break;
    }
  if (convention == Convention::pytorch) replace_all(name, '/', '.');
  return name;
}

bool is_reversed(Convention convention, const std::string& variable, const Shape& shape) {
  return convention == Convention::pytorch && shape.rank() >= 2 &&
         std::string_view(variable).substr(last_part(variable)) == "kernel";
}

Shape from_reversed(const Shape& stored) { return reversed_to_variable(stored); }

Tensor from_reversed(const Tensor& stored) {
  const Shape& shape = stored.shape();
  Tensor value(stored.dtype(), reversed_to_variable(shape), {});
  if (value.num_elements() > 0)
    reverse_axes(stored, value, shape[0], shape[1], value.num_elements() / (shape[0] * shape[1]));
  return value;
}

Tensor to_reversed(const Tensor& value) {
  const Shape& shape = value.shape();
  const std::int64_t in = shape[shape.rank() - 2], out = shape[shape.rank() - 1];
  Shape stored{out, in};
  for (int axis = 0; axis + 2 < shape.rank(); ++axis) stored.append(shape[axis]);
  Tensor result(value.dtype(), stored, {});
  if (value.num_elements() > 0)
    reverse_axes(value, result, value.num_elements() / (in * out), in, out);
  return result;
}

}  // namespace gradgraph

#include "io/weights/conventions.h"

#include <array>
#include <cstring>
#include <map>
#include <span>
#include <string_view>

namespace gradgraph {
namespace {

struct Name {
  std::string_view stored, variable;  ///< the last parts of names
};
// Of several variables for one name, the graph has at most one.
constexpr std::array<Name, 17> kPytorchNames = {{
    {"weight_ih_l0", "kernel"},
    {"weight_hh_l0", "recurrent_kernel"},
    {"bias_ih_l0", "bias"},
    {"bias_hh_l0", "recurrent_bias"},
    {"q_proj_weight", "query_kernel"},
    {"k_proj_weight", "key_kernel"},
    {"v_proj_weight", "value_kernel"},
    {"out_proj/weight", "output_kernel"},
    {"out_proj/bias", "output_bias"},
    {"weight", "kernel"},
    {"weight", "scale"},
    {"weight", "table"},
    {"bias", "bias"},
    {"bias", "offset"},
    {"running_mean", "running_mean"},
    {"running_var", "running_variance"},
    {"num_batches_tracked", ""},
}};
/// What attention has in one tensor, each a third of it.
constexpr std::array<std::string_view, 3> kProjections = {"query", "key", "value"};
constexpr std::string_view kJoinedWeight = "in_proj_weight", kJoinedBias = "in_proj_bias";
/// Where a cell has one bias, it is the sum of these.
constexpr std::string_view kBias = "bias_ih_l0", kRecurrentBias = "bias_hh_l0";
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

/// Whether a name is that of a scope which has what cells, or what attention has.
bool fits(const Name& known, bool recurs, bool attends) {
  return (recurs || !known.stored.ends_with("_l0")) &&
         (attends || known.stored.find("proj") == std::string_view::npos);
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

/// Whether the name is `last`, or ends in it behind a slash.
bool ends_in(std::string_view name, std::string_view last) {
  return name.ends_with(last) &&
         (name.size() == last.size() || name[name.size() - last.size() - 1] == '/');
}
/// The name with another end.
std::string with_end(std::string_view name, std::string_view last, std::string_view other) {
  return std::string(name.substr(0, name.size() - last.size())).append(other);
}

/// Whether the variable's axes are reversed in the file: [out,in,...] for our [...,in,out].
bool is_reversed(Convention convention, std::string_view variable, const Shape& shape) {
  return convention == Convention::pytorch && shape.rank() >= 2 &&
         (ends_in(variable, "kernel") || variable.ends_with("_kernel"));
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

/// The rows of one after those of the other, which are alike.
Tensor joined(const std::vector<Tensor>& parts) {
  Shape shape = parts.front().shape();
  shape.set(0, shape[0] * static_cast<std::int64_t>(parts.size()));
  Tensor result(parts.front().dtype(), shape, {});
  auto* to = static_cast<char*>(result.raw());
  for (const Tensor& part : parts) {
    std::memcpy(to, part.raw(), part.bytes());
    to += part.bytes();
  }
  return result;
}

/// What PyTorch calls and how it keeps the variables of a model.
class PytorchWriter {
 public:
  PytorchWriter(const std::vector<NamedTensor>& variables, const std::set<std::string>& all)
      : variables_(variables), all_(all) {
    for (const NamedTensor& variable : variables) by_name_[variable.name] = &variable.value;
  }

  std::vector<NamedTensor> write() {
    for (const auto& [name, value] : variables_)
      if (!write_projection(name)) write_alone(name, value);
    return std::move(stored_);
  }

 private:
  const Tensor* find(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
  }
  void put(std::string name, Tensor value) {
    replace_all(name, '/', '.');
    stored_.push_back({std::move(name), std::move(value)});
  }
  static Tensor in_order(const std::string& name, const Tensor& value) {
    return is_reversed(Convention::pytorch, name, value.shape()) ? to_reversed(value) : value;
  }

  /// The query's has the others with it, where they are alike. Whether that is how it is kept.
  bool write_projection(const std::string& name) {
    for (const std::string_view kind : {"_kernel", "_bias"})
      for (const std::string_view part : kProjections) {
        const std::string last = std::string(part).append(kind);
        if (!ends_in(name, last)) continue;
        std::vector<Tensor> parts;
        for (const std::string_view each : kProjections) {
          const std::string other = with_end(name, last, std::string(each).append(kind));
          const Tensor *const value = find(other), *const own = find(name);
          if (!value || value->shape() != own->shape() || value->dtype() != own->dtype() ||
              value->shape().rank() != (kind == "_bias" ? 1 : 2))
            return false;
          parts.push_back(in_order(other, *value));
        }
        if (part == kProjections[0])
          put(with_end(name, last, kind == "_bias" ? kJoinedBias : kJoinedWeight), joined(parts));
        return true;
      }
    return false;
  }

  void write_alone(const std::string& name, const Tensor& value) {
    const std::size_t last = last_part(name);
    const std::string scope = name.substr(0, last), part = name.substr(last);
    const bool recurs = all_.contains(scope + "recurrent_kernel"),
               attends = all_.contains(scope + "query_kernel");
    std::string_view stored = part;
    for (const Name& known : kPytorchNames)
      if (part == known.variable && fits(known, recurs, attends)) {
        stored = known.stored;
        break;
      }
    put(scope + std::string(stored), in_order(name, value));
    if (stored == kBias && !all_.contains(scope + "recurrent_bias"))
      put(scope + std::string(kRecurrentBias), Tensor::zeros(value.dtype(), value.shape()));
  }

  const std::vector<NamedTensor>& variables_;
  const std::set<std::string>& all_;
  std::map<std::string, const Tensor*> by_name_;
  std::vector<NamedTensor> stored_;
};

}  // namespace

std::vector<Share> shares_of(Convention convention, const std::string& stored,
                             const std::set<std::string>& variables) {
  Share share{.variables = {stored}};
  const std::string name = plain(convention, stored);
  if (convention == Convention::gradgraph || variables.contains(stored)) return {share};
  share.variables.push_back(name);
  if (variables.contains(name)) return {share};
  const auto has = [&](std::string_view last, std::string_view sibling) {
    return variables.contains(with_end(name, last, sibling));
  };
  if (convention == Convention::pytorch) {
    for (const std::string_view joint : {kJoinedWeight, kJoinedBias})
      if (ends_in(name, joint) && has(joint, "query_kernel")) {
        std::vector<Share> shares;
        for (const std::string_view part : kProjections)
          shares.push_back(
              {.variables = {with_end(
                   name, joint,
                   std::string(part).append(joint == kJoinedBias ? "_bias" : "_kernel"))},
               .third = static_cast<int>(shares.size())});
        return shares;
      }
    for (const std::string_view bias : {kBias, kRecurrentBias})
      if (ends_in(name, bias) && has(bias, "recurrent_kernel") && !has(bias, "recurrent_bias"))
        return {{.variables = {with_end(name, bias, "bias")}, .term = bias == kBias ? 0 : 1}};
  }
  for (const Name& known : names_of(convention))
    if (ends_in(name, known.stored) && !known.variable.empty() &&
        fits(known, has(known.stored, "recurrent_kernel"), has(known.stored, "query_kernel")))
      share.variables.push_back(with_end(name, known.stored, known.variable));
  return {share};
}

bool is_dropped(Convention convention, const std::string& stored) {
  const std::string name = plain(convention, stored);
  for (const Name& known : names_of(convention))
    if (known.variable.empty() && name.substr(last_part(name)) == known.stored) return true;
  return false;
}

std::optional<Shape> shape_of_share(Convention convention, const std::string& variable,
                                    const Shape& stored, const Share& share) {
  Shape shape = stored;
  if (share.third >= 0) {
    if (shape.rank() == 0 || shape[0] % 3 != 0) return std::nullopt;
    shape.set(0, shape[0] / 3);
  }
  return is_reversed(convention, variable, shape) ? reversed_to_variable(shape) : shape;
}

Tensor take_share(Convention convention, const std::string& variable, const Tensor& stored,
                  const Share& share) {
  Tensor part = stored;
  if (share.third >= 0) {
    Shape shape = stored.shape();
    shape.set(0, shape[0] / 3);
    part = Tensor(stored.dtype(), shape, {});
    std::memcpy(part.raw(),
                static_cast<const char*>(stored.raw()) +
                    static_cast<std::size_t>(share.third) * part.bytes(),
                part.bytes());
  }
  return is_reversed(convention, variable, part.shape()) ? from_reversed(part) : part;
}

Tensor added(const Tensor& a, const Tensor& b, DType dtype) {
  Tensor sum = a.cast(float64).clone();
  const Tensor other = b.cast(float64);
  for (std::int64_t i = 0; i < sum.num_elements(); ++i)
    sum.data<double>()[i] += other.data<double>()[i];
  return sum.cast(dtype);
}

std::vector<NamedTensor> to_stored(Convention convention,
                                   const std::vector<NamedTensor>& variables,
                                   const std::set<std::string>& all) {
  if (convention == Convention::pytorch) return PytorchWriter(variables, all).write();
  std::vector<NamedTensor> stored = variables;
  for (NamedTensor& tensor : stored)
    for (const Name& known : names_of(convention))
      if (ends_in(tensor.name, known.variable)) {
        tensor.name = with_end(tensor.name, known.variable, known.stored);
        break;
      }
  return stored;
}

}  // namespace gradgraph

#include "graph/schema.h"
#include "core/text.h"
#include "gradgraph/op.h"

namespace gradgraph {
namespace {

constexpr std::string_view kTypeNames[] = {"bool",    "int",     "double",  "string",
                                           "dtype",   "shape",   "ints",    "tensor",
                                           "program", "doubles", "strings", "subgraph"};
static_assert(std::size(kTypeNames) == std::variant_size_v<Attribute>);

std::string_view type_name(const Attribute& value) { return kTypeNames[value.index()]; }

std::string text_of(const Attribute& value) {
  return std::visit(
      []<class T>(const T& x) -> std::string {
        if constexpr (std::is_same_v<T, std::string>)
          return fmt::format("\"{}\"", x);
        else if constexpr (std::is_same_v<T, Tensor>)
          return fmt::format("{}{}", x.dtype(), x.shape());
        else if constexpr (std::is_same_v<T, std::shared_ptr<const ElementwiseProgram>>)
          return "program";
        else if constexpr (std::is_same_v<T, std::shared_ptr<const Subgraph>>)
          return "subgraph";
        else if constexpr (requires { x.begin(); })
          return fmt::format("[{}]", fmt::join(x, ","));
        else
          return fmt::format("{}", x);
      },
      value);
}

const AttributeDef* find_attribute(const Schema& schema, std::string_view name) {
  for (const AttributeDef& attribute : schema.attributes)
    if (attribute.name == name) return &attribute;
  return nullptr;
}

std::string names_of(const std::vector<AttributeDef>& attributes) {
  std::string names;
  for (const AttributeDef& attribute : attributes)
    names += (names.empty() ? "" : ", ") + attribute.name;
  return names.empty() ? "none" : names;
}

}  // namespace

OpDef& OpDef::describe(std::string doc, std::initializer_list<std::string_view> inputs) {
  schema.doc = std::move(doc);
  for (std::string_view input : inputs) {
    auto kind = InputDef::Kind::single;
    if (input.ends_with("?")) kind = InputDef::Kind::optional, input.remove_suffix(1);
    if (input.ends_with("...")) kind = InputDef::Kind::list, input.remove_suffix(3);
    schema.inputs.push_back({std::string(input), kind});
  }
  return *this;
}

OpDef& OpDef::attribute(std::string attribute, Attribute value, std::string doc) {
  schema.attributes.push_back({std::move(attribute), std::move(value), false, std::move(doc)});
  return *this;
}

std::string OpDef::signature() const {
  std::string arguments;
  const auto add = [&](const std::string& argument) {
    arguments += (arguments.empty() ? "" : ", ") + argument;
  };
  for (const InputDef& input : schema.inputs)
    add(input.name + (input.kind == InputDef::Kind::single
                          ? ""
                          : (input.kind == InputDef::Kind::optional ? "?" : "...")));
  for (const AttributeDef& attribute : schema.attributes) {
    std::string text = fmt::format("{}: {}", attribute.name, type_name(attribute.value));
    if (!attribute.required) text += " = " + text_of(attribute.value);
    add(text);
  }
  return fmt::format("{}({})", name, arguments);
}

void Attributes::complete(const Schema& schema) {
  const std::size_t count = schema.attributes.size();
  // As the front functions give them: only the names are to be the schema's own.
  const bool is_complete =
      size_ == count && entries_.use_count() == 1 &&
      std::equal(begin(), end(), schema.attributes.begin(), [](const auto& entry, auto& known) {
        return entry.first == known.name && entry.second.index() == known.value.index();
      });
  if (is_complete) {
    Entry* entry = entries_.get();
    for (const AttributeDef& known : schema.attributes) entry++->first = known.name;
    return;
  }
  for (const auto& [name, value] : *this)
    if (!find_attribute(schema, name))
      throw BuildError(
          fmt::format("there is no attribute '{}', only: {}", name, names_of(schema.attributes)));
  auto entries = std::make_shared<Entry[]>(count);
  Entry* entry = entries.get();
  for (const AttributeDef& known : schema.attributes) {
    const Attribute* given = find(known.name);
    if (!given && known.required)
      throw BuildError(
          fmt::format("attribute '{}' ({}) is missing", known.name, type_name(known.value)));
    if (given && given->index() != known.value.index())
      throw BuildError(fmt::format("attribute '{}' must be of type {}, not {}", known.name,
                                   type_name(known.value), type_name(*given)));
    *entry++ = {known.name, given ? *given : known.value};
  }
  entries_ = std::move(entries);
  size_ = count;
}

void check_inputs(const OpDef& op, const InferContext& context) {
  std::size_t least = 0, most = 0;
  for (const InputDef& input : op.schema.inputs) {
    if (input.kind == InputDef::Kind::single) ++least;
    most = input.kind == InputDef::Kind::list ? std::size_t(-1) : most + 1;
  }
  const auto count = static_cast<std::size_t>(context.num_inputs());
  if (count >= least && count <= most) return;
  std::vector<std::string> names;
  for (const InputDef& input : op.schema.inputs) names.push_back(input.name);
  context.fail(fmt::format("takes {}{} input{} ({}), not {}", least == most ? "" : "at least ",
                           least, least == 1 ? "" : "s", fmt::join(names, ", "), count));
}

}  // namespace gradgraph

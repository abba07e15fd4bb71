#include "golden_rows.h"
#include "tests_folder.h"

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace gradgraph::tests {
namespace {

using nlohmann::json;

DType dtype_named(const std::string& name) {
  if (name == "float") return float64;
  return name == "int32" ? int32 : int64;
}

Tensor to_tensor(const json& value) {
  const auto numbers = value.at("values").get<std::vector<double>>();
  const Shape shape(value.at("shape").get<std::vector<std::int64_t>>());
  return Tensor::from(numbers, shape).cast(dtype_named(value.at("dtype")));
}

Tensor to_float32(const Tensor& tensor) {
  return tensor.dtype() == float64 ? tensor.cast(float32) : tensor;
}

GoldenOptions to_options(const json& value) {
  GoldenOptions options;
  for (const auto& [name, option] : value.items()) {
    if (option.is_string())
      options.texts[name] = option;
    else if (option.is_array())
      options.numbers[name] = option.get<std::vector<std::int64_t>>();
    else
      options.numbers[name] = {option.is_boolean() ? std::int64_t{option.get<bool>()}
                                                   : option.get<std::int64_t>()};
  }
  return options;
}

const json& golden_values() {
  static const json values = [] {
    // The folder may have moved with the program, to another machine.
    const char* const moved = std::getenv("GRADGRAPH_TEST_DATA");
    std::ifstream file(std::string(moved ? moved : GRADGRAPH_TESTS_FOLDER "/golden") +
                       "/op_values.json");
    return json::parse(file);
  }();
  return values;
}

}  // namespace

std::vector<std::int64_t> GoldenOptions::list(std::string_view name) const {
  const auto found = numbers.find(name);
  return found == numbers.end() ? std::vector<std::int64_t>() : found->second;
}

std::int64_t GoldenOptions::number(std::string_view name, std::int64_t fallback) const {
  const auto values = list(name);
  return values.empty() ? fallback : values[0];
}

Pair GoldenOptions::pair(std::string_view name, std::int64_t fallback) const {
  const auto values = list(name);
  return values.size() == 2 ? Pair(values[0], values[1]) : Pair(number(name, fallback));
}

Padding GoldenOptions::padding() const {
  const auto found = texts.find("padding");
  if (found == texts.end() || found->second == "valid") return Padding::valid;
  return found->second == "same" ? Padding::same : Padding::explicit_;
}

Border GoldenOptions::border() const {
  const auto values = list("border");
  return values.empty() ? Border{} : Border{values[0], values[1], values[2], values[3]};
}

Layout GoldenOptions::layout() const {
  const auto found = texts.find("layout");
  return found != texts.end() && found->second == "nchw" ? Layout::nchw : Layout::nhwc;
}

void add_golden_rows(std::vector<OpRow>& rows, std::string_view op, const GoldenBuild& build,
                     const std::function<void(OpRow&)>& adjust) {
  for (const json& value : golden_values()) {
    if (value.at("op") != op) continue;
    OpRow row;
    row.name = std::string(op) + "/" + value.at("name").get<std::string>();
    row.also = {};
    for (const json& input : value.at("inputs")) row.inputs.push_back(to_tensor(input));
    row.expected = {to_tensor(value.at("expected"))};
    row.build = [build, options = to_options(value.at("options"))](
                    const std::vector<Output>& inputs) -> std::vector<Output> {
      return {build(inputs, options)};
    };
    if (adjust) adjust(row);
    OpRow single = row;
    single.name += "/float32";
    single.gradient = false;
    for (Tensor& input : single.inputs) input = to_float32(input);
    for (Tensor& expected : single.expected) expected = to_float32(expected);
    rows.push_back(std::move(row));
    rows.push_back(std::move(single));
  }
}

}  // namespace gradgraph::tests

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "tests_folder.h"

/// Layers for sequences against PyTorch's.
namespace gradgraph::tests {
namespace {

using nlohmann::json;

Tensor tensor_of(const json& entry) {
  return Tensor::from(entry["values"].get<std::vector<double>>(),
                      Shape(entry["shape"].get<std::vector<std::int64_t>>()));
}

void check_equal(const Tensor& actual, const json& entry, double tolerance = 1e-12) {
  const Tensor expected = tensor_of(entry);
  REQUIRE(actual.shape() == expected.shape());
  const auto a = actual.span<double>(), b = expected.span<double>();
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::fabs(a[i] - b[i]) <= tolerance);
}

using Named = std::map<std::string, Output>;

/// What the layer of a case makes of its inputs, and its variables.
struct Built {
  Named outputs;
  std::vector<Output> variables;
};
Built build(const std::string& name, const Named& in) {
  if (name == "lstm") {
    const nn::Lstm layer({.units = 4});
    const nn::LstmResult result = layer(in.at("x"), {in.at("hidden"), in.at("cell")});
    return {{{"outputs", result.outputs},
             {"hidden", result.state.hidden},
             {"cell", result.state.cell}},
            layer.variables()};
  }
  if (name == "gru") {
    const nn::Gru layer({.units = 4});
    const nn::GruResult result = layer(in.at("x"), in.at("state"));
    return {{{"outputs", result.outputs}, {"state", result.state}}, layer.variables()};
  }
  if (name.starts_with("conv1d")) {
    nn::Conv1dOptions options = {.filters = 6};
    if (name == "conv1d") options.stride = 2;
    if (name == "conv1d_same") options.padding = Padding::same;
    if (name == "conv1d_explicit")
      options = {
          .filters = 6, .padding = Padding::explicit_, .before = 3, .after = 2, .groups = 2};
    if (name == "conv1d_causal") options.causal = true, options.dilation = 2;
    const nn::Conv1d layer(options);
    return {{{"outputs", layer(in.at("x"))}}, layer.variables()};
  }
  if (name == "rms_norm") {
    const nn::RmsNorm layer;
    return {{{"outputs", layer(in.at("x"))}}, layer.variables()};
  }
  const nn::MultiHeadAttention layer({.heads = 2, .causal = name == "causal_attention"});
  nn::AttentionInputs others;
  if (name == "cross_attention") others = {.keys = in.at("keys"), .values = in.at("values")};
  return {{{"outputs", layer(in.at("queries"), others)}}, layer.variables()};
}

/// Sums in which later elements count for more, as in make_layer_values.py.
Output weighed(const Output& x) {
  const std::int64_t count = x.shape().num_elements();
  Tensor weights(float64, x.shape());
  for (std::int64_t i = 0; i < count; ++i)
    weights.data<double>()[i] = 0.5 + static_cast<double>(i) / static_cast<double>(count - 1);
  return sum(x * weights);
}

std::vector<std::int64_t> unknown_batch(const Shape& shape) {
  std::vector<std::int64_t> dims(shape.dims().begin(), shape.dims().end());
  dims[0] = any;
  return dims;
}

}  // namespace

TEST_CASE("layers: sequences as PyTorch has them, values and gradients, to 1e-12") {
  const json golden =
      json::parse(std::ifstream(GRADGRAPH_TESTS_FOLDER "/golden/layer_values.json"));
  for (const json& spec : golden["cases"]) {
    const std::string name = spec["name"];
    SUBCASE(name.c_str()) {
      for (const bool batch_is_known : {true, false}) {
        CAPTURE(batch_is_known);
        Graph graph;
        Named inputs;
        Feeds feeds;
        for (const auto& [input, entry] : spec["inputs"].items()) {
          const Tensor value = tensor_of(entry);
          const Shape shape =
              batch_is_known ? value.shape() : Shape(unknown_batch(value.shape()));
          inputs[input] = placeholder(graph, float64, shape, input);
          feeds.emplace_back(inputs[input], value);
        }
        const Built built = build(name, inputs);
        Session session(graph);
        std::map<std::string, Output> weights;
        for (const Output& variable : built.variables) {
          const std::string& full = variable.node().name();
          weights[full.substr(full.find('/') + 1)] = variable;
        }
        REQUIRE(weights.size() == spec["weights"].size());
        for (const auto& weight : spec["weights"].items()) {
          CAPTURE(weight.key());
          REQUIRE(weights.contains(weight.key()));
          session.set_value(weights[weight.key()], tensor_of(weight.value()));
        }
        for (const auto& output : spec["outputs"].items()) {
          CAPTURE(output.key());
          check_equal(session.run(feeds, built.outputs.at(output.key())), output.value());
        }
        if (!batch_is_known) continue;
        Output loss;
        for (const auto& [output, entry] : spec["outputs"].items()) {
          const Output part = weighed(built.outputs.at(output));
          loss = loss ? loss + part : part;
        }
        for (const auto& input : spec["input_gradients"].items()) {
          CAPTURE(input.key());
          check_equal(session.run(feeds, gradients({loss}, {inputs[input.key()]})[0]),
                      input.value());
        }
        for (const auto& weight : spec["weight_gradients"].items()) {
          CAPTURE(weight.key());
          check_equal(session.run(feeds, gradients({loss}, {weights[weight.key()]})[0]),
                      weight.value());
        }
      }
    }
  }
}

}  // namespace gradgraph::tests

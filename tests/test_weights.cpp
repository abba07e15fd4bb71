#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "temporary_directory.h"
#include "tests_folder.h"

namespace gradgraph::tests {
namespace {

namespace fs = std::filesystem;

/// The network of tests/golden/make_pytorch_weights.py.
struct Convolutional {
  Graph graph;
  Output images = placeholder(graph, float32, {any, 1, 12, 12}, "images");
  Output training = constant(graph, Tensor(false));
  Output logits;

  Convolutional() {
    Output x = transpose(images, {0, 2, 3, 1});
    x = nn::conv2d(x, {.filters = 4, .kernel = 3}, "conv");
    x = nn::batch_norm(x, {.training = training, .epsilon = 1e-5}, "bn").output;
    x = nn::max_pool2d(relu(x), 2);
    x = nn::dense(nn::flatten(transpose(x, {0, 3, 1, 2})), {.units = 8}, "fc1");
    x = relu(nn::layer_norm(x, 1e-5, "ln"));
    logits = nn::dense(x, {.units = 10}, "fc2");
  }
};

const NameMap kNames = {
    {"0.*", "conv.*"}, {"1.*", "bn.*"}, {"5.*", "fc1.*"}, {"6.*", "ln.*"}, {"8.*", "fc2.*"}};
const fs::path kModel = GRADGRAPH_TESTS_FOLDER "/golden/pytorch_model.safetensors";

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double largest = 0;
  for (std::size_t i = 0; i < a.span<float>().size(); ++i)
    largest = std::max<double>(largest, std::abs(a.span<float>()[i] - b.span<float>()[i]));
  return largest;
}

/// Images, and what PyTorch made of them.
std::pair<Tensor, Tensor> pytorch_logits() {
  const Safetensors file =
      read_safetensors(GRADGRAPH_TESTS_FOLDER "/golden/pytorch_logits.safetensors");
  std::pair<Tensor, Tensor> result;
  for (const auto& [name, value] : file.tensors)
    (name == "images" ? result.first : result.second) = value;
  return result;
}

struct Small {
  Graph graph;
  Output a = variable(graph, Tensor{{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}}, "net/a");
  Output b = variable(graph, Tensor{7.f, 8.f}, "net/b");
  Session session{graph};

  std::vector<float> values(const Output& variable) {
    const Tensor value = session.value(variable);
    return {value.span<float>().begin(), value.span<float>().end()};
  }
};

fs::path write(const TemporaryDirectory& folder, const std::vector<NamedTensor>& tensors) {
  write_safetensors(folder / "weights.safetensors", tensors);
  return folder / "weights.safetensors";
}

}  // namespace

TEST_CASE("weights: a PyTorch model gives the same logits here") {
  const auto [images, wanted] = pytorch_logits();
  Convolutional model;
  Session session(model.graph);
  const LoadReport report = load_weights(session, model.graph, kModel,
                                         {.names = kNames, .convention = Convention::pytorch});
  CHECK(report.loaded.size() == 12);
  CHECK(report.left_out == std::vector<std::string>{"1.num_batches_tracked"});
  CHECK(report.to_string() == "12 tensors loaded; left out: 1.num_batches_tracked");
  const Tensor logits = session.run({{model.images, images}}, model.logits);
  CHECK(largest_difference(logits, wanted) < 1e-6);

  // There and back, as PyTorch has them.
  const TemporaryDirectory folder;
  const fs::path path = folder / "back.safetensors";
  save_weights(session, model.graph, path,
               {.names = {{"conv/*", "0/*"},
                          {"bn/*", "1/*"},
                          {"fc1/*", "5/*"},
                          {"ln/*", "6/*"},
                          {"fc2/*", "8/*"}},
                .convention = Convention::pytorch});
  const Safetensors before = read_safetensors(kModel), after = read_safetensors(path);
  CHECK(after.tensors.size() == before.tensors.size() - 1);
  for (const NamedTensor& tensor : after.tensors) {
    const std::string& name = tensor.name;
    const Tensor& value = tensor.value;
    CAPTURE(name);
    const auto old = std::ranges::find(before.tensors, name, &NamedTensor::name);
    REQUIRE(old != before.tensors.end());
    CHECK(largest_difference(value, old->value) == 0);
  }
}

TEST_CASE("weights: PyTorch's layers for sequences give the same outputs here, and back") {
  const fs::path path = GRADGRAPH_TESTS_FOLDER "/golden/pytorch_sequences.safetensors";
  std::map<std::string, Tensor> known;
  for (const NamedTensor& tensor :
       read_safetensors(GRADGRAPH_TESTS_FOLDER "/golden/pytorch_sequence_outputs.safetensors")
           .tensors)
    known[tensor.name] = tensor.value;
  Graph graph;
  const Output x = constant(graph, known.at("x"));
  const Output states = nn::Lstm({.units = 4})(x).outputs;
  const std::map<std::string, Output> outputs = {
      {"lstm", states},
      {"gru", nn::Gru({.units = 4})(x).outputs},
      {"attention", nn::MultiHeadAttention({.heads = 2})(x)},
      {"crossed", nn::MultiHeadAttention({.heads = 2}, "crossed")(x, {.keys = states})}};
  Session session(graph);
  const LoadReport report =
      load_weights(session, graph, path, {.convention = Convention::pytorch});
  CHECK(report.loaded.size() == model_variables(graph).size());
  for (const LoadReport::Loaded& loaded : report.loaded)
    if (loaded.variable == "lstm/bias")
      CHECK((loaded.stored == "lstm.bias_hh_l0 + lstm.bias_ih_l0" ||
             loaded.stored == "lstm.bias_ih_l0 + lstm.bias_hh_l0"));
  for (const auto& named : outputs) {
    CAPTURE(named.first);
    CHECK(largest_difference(session.run(named.second), known.at(named.first)) < 1e-6);
  }

  const TemporaryDirectory folder;
  save_weights(session, graph, folder / "back.safetensors", {.convention = Convention::pytorch});
  const Safetensors before = read_safetensors(path),
                    after = read_safetensors(folder / "back.safetensors");
  CHECK(after.tensors.size() == before.tensors.size());
  for (const NamedTensor& tensor : after.tensors) {
    const std::string& name = tensor.name;
    CAPTURE(name);
    const auto old = std::ranges::find(before.tensors, name, &NamedTensor::name);
    REQUIRE(old != before.tensors.end());
    // An LSTM's two biases are one here.
    if (!name.starts_with("lstm.bias")) CHECK(largest_difference(tensor.value, old->value) == 0);
    if (name == "lstm.bias_hh_l0")
      CHECK(largest_difference(tensor.value, Tensor::zeros(float32, {16})) == 0);
  }
}

TEST_CASE("weights: an LSTM's bias is the sum of two, of each one") {
  const TemporaryDirectory folder;
  Graph graph;
  const auto one = [&](const char* name) { return variable(graph, Tensor{0.f}, name); };
  variable(graph, Tensor{{0.f}}, "lstm/recurrent_kernel");
  variable(graph, Tensor{{0.f}}, "gru/recurrent_kernel");
  const Output bias = one("lstm/bias"), gru = one("gru/bias"), own = one("own/in_proj_bias");
  one("gru/recurrent_bias");
  Session session(graph);
  const Tensor a{1.f}, b{10.f};
  const auto load = [&](const Output& into, const std::vector<NamedTensor>& tensors) {
    load_weights(session, graph, write(folder, tensors),
                 {.variables = {into}, .strict = false, .convention = Convention::pytorch});
    return session.value(into).item<float>();
  };
  CHECK(load(bias, {{"lstm.bias_ih_l0", a}, {"lstm.bias_hh_l0", b}}) == 11);
  CHECK(load(bias, {{"lstm.bias_hh_l0", b}, {"lstm.bias_ih_l0", b}}) == 20);
  // A cell with two biases has them, also where only one is asked for.
  CHECK(load(gru, {{"gru.bias_ih_l0", a}, {"gru.bias_hh_l0", b}}) == 1);
  CHECK(contains(message_of([&] {
                   load(bias, {{"lstm.bias_ih_l0", a}});
                 }),
                 "'lstm/bias' is the sum of two biases, and 'lstm.bias_ih_l0' is one of them"));
  CHECK(contains(message_of([&] {
                   load(bias, {{"lstm.bias_ih_l0", a}, {"lstm/bias_ih_l0", b}});
                 }),
                 "'lstm/bias' would take both"));
  // What is stored of a cell is what there is of it.
  save_weights(session, graph, folder / "gru.safetensors",
               {.variables = {gru}, .convention = Convention::pytorch});
  const Safetensors part = read_safetensors(folder / "gru.safetensors");
  REQUIRE(part.tensors.size() == 1);
  CHECK(part.tensors[0].name == "gru.bias_ih_l0");
  // A variable of the tensor's own name comes first.
  CHECK(load(own, {{"own.in_proj_bias", b}}) == 10);
}

TEST_CASE("weights: projections that are not alike are stored one by one") {
  const TemporaryDirectory folder;
  Graph graph;
  variable(graph, Tensor{{1.f}}, "a/query_kernel");
  variable(graph, Tensor{{2.}}, "a/key_kernel");
  variable(graph, Tensor{{3.f}}, "a/value_kernel");
  for (const char* name : {"a/query_bias", "a/key_bias", "a/value_bias"})
    variable(graph, Tensor(1.f), name);
  Session session(graph);
  const LoadOptions options = {.convention = Convention::pytorch};
  save_weights(session, graph, folder / "a.safetensors", {.convention = Convention::pytorch});
  const LoadReport report = load_weights(session, graph, folder / "a.safetensors", options);
  CHECK(report.loaded.size() == 6);
  // Of what three share, none is left without a word.
  const fs::path path = write(folder, {{"a.in_proj_weight", Tensor{{1.f}, {2.f}, {3.f}}}});
  CHECK(contains(message_of<DataError>([&] {
                   load_weights(session, graph, path,
                                {.variables = variables(graph, "a/query_kernel"),
                                 .convention = Convention::pytorch});
                 }),
                 "unexpected in the file: 'a.in_proj_weight' F32[3,1]"));
}

TEST_CASE("weights: a kernel is turned by whatever name it comes") {
  const TemporaryDirectory folder;
  Graph graph;
  const Output kernel = variable(graph, Tensor{{0.f, 0.f}, {0.f, 0.f}}, "a/output_kernel");
  Session session(graph);
  const fs::path path = write(folder, {{"x.weight", Tensor{{1.f, 2.f}, {3.f, 4.f}}}});
  load_weights(session, graph, path,
               {.names = {{"x.weight", "a/output_kernel"}}, .convention = Convention::pytorch});
  CHECK(largest_difference(session.value(kernel), Tensor{{1.f, 3.f}, {2.f, 4.f}}) == 0);
  save_weights(session, graph, folder / "back.safetensors", {.convention = Convention::pytorch});
  const Safetensors back = read_safetensors(folder / "back.safetensors");
  CHECK(back.tensors[0].name == "a.output_kernel");
  CHECK(largest_difference(back.tensors[0].value, Tensor{{1.f, 2.f}, {3.f, 4.f}}) == 0);
  // Rows that are no three kernels.
  const Output query = variable(graph, Tensor{{0.f, 0.f}, {0.f, 0.f}}, "b/query_kernel");
  const fs::path odd = write(folder, {{"b.in_proj_weight", Tensor{{1.f, 2.f}, {3.f, 4.f}}}});
  CHECK(contains(message_of<DataError>([&] {
                   load_weights(session, graph, odd,
                                {.variables = {query}, .convention = Convention::pytorch});
                 }),
                 "'b/query_kernel' is float32[2,2], 'b.in_proj_weight' F32[2,2]"));
}

TEST_CASE("weights: without a map, every misfit is named at once, and nothing changes") {
  Convolutional model;
  Session session(model.graph);
  const std::string text = message_of<DataError>([&] {
    load_weights(session, model.graph, kModel,
                 {.names = {{"0.*", "fc2.*"}}, .convention = Convention::pytorch});
  });
  CAPTURE(text);
  CHECK(contains(text, "pytorch_model.safetensors: does not fit the graph:"));
  CHECK(contains(text,
                 "missing in the file: 'bn/offset' float32[4], 'bn/running_mean' float32[4]"));
  CHECK(contains(text, "'8.weight' F32[10,8]"));
  CHECK(contains(
      text, "'fc2/kernel' is float32[8,10], '0.weight' F32[4,1,3,3], which gives [3,3,1,4]"));
  CHECK(contains(text, "'fc2/bias' is float32[10], '0.bias' F32[4]"));
  CHECK(contains(text, "(test_weights.cpp:"));
}

TEST_CASE("weights: what load_weights throws for leaves the session as it was") {
  const TemporaryDirectory folder;
  Small net;
  net.session.set_value(net.b, Tensor{-1.f, -2.f});
  const Tensor a{{0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}, b{0.f, 0.f};
  const auto fault = [&](const std::vector<NamedTensor>& tensors,
                         const LoadOptions& options = {}) {
    const fs::path path = write(folder, tensors);
    const std::string text =
        message_of<DataError>([&] { load_weights(net.session, net.graph, path, options); });
    CHECK(net.values(net.a) == std::vector<float>{1, 2, 3, 4, 5, 6});
    CHECK(net.values(net.b) == std::vector<float>{-1, -2});
    return text;
  };
  CHECK(contains(fault({{"net/a", a}}), "missing in the file: 'net/b' float32[2]"));
  CHECK(contains(fault({{"net/a", a}, {"net/b", b}, {"c", b}}),
                 "unexpected in the file: 'c' F32[2]"));
  CHECK(contains(fault({{"net/a", a.reshaped({3, 2})}, {"net/b", b}}),
                 "misshapen: 'net/a' is float32[2,3], 'net/a' F32[3,2]"));
  CHECK(contains(fault({{"net/a", a}, {"net/b", Tensor{std::int64_t{1}, std::int64_t{2}}}}),
                 "'net/b' is float32[2], 'net/b' I64[2]"));
  // Also where less would do.
  CHECK(contains(fault({{"net/a", a.reshaped({6})}, {"net/b", b}}, {.strict = false}),
                 "misshapen"));
  CHECK(contains(fault({{"x", a}}, {.strict = false}), "no tensor has a variable's name"));
  CHECK(contains(fault({{"net/a", a}, {"b1", b}, {"b2", b}}, {.names = {{"b*", "net/b"}}}),
                 "'net/b' would take both 'b1' and 'b2'"));
  CHECK(contains(
      fault({{"net/a", a}, {"net/b", b}}, {.transform =
                                               [](const std::string& name, const Tensor& stored) {
                                                 return name == "net/b" ? Tensor{1.f} : stored;
                                               }}),
      "'net/b' is float32[2], 'net/b' F32[2], which gives [1]"));
}

TEST_CASE("weights: partly, converted, mapped and transformed") {
  const TemporaryDirectory folder;
  Small net;
  const fs::path path = write(folder, {{"head.b", Tensor{0.5f, 1.5f}.cast(float16)},
                                       {"other", Tensor(1.f)},
                                       {"skip.1", Tensor(1.f)}});
  const LoadReport report =
      load_weights(net.session, net.graph, path,
                   {.strict = false, .names = {{"head.*", "net/*"}, {"skip.*", ""}}});
  CHECK(net.values(net.b) == std::vector<float>{0.5f, 1.5f});
  CHECK(net.values(net.a).back() == 6);
  CHECK(report.to_string() ==
        "1 tensors loaded, 1 of them converted; missing: net/a; unexpected: other; "
        "left out: skip.1");

  const LoadReport two = load_weights(
      net.session, net.graph, path,
      {.variables = {net.b},
       .strict = false,
       .names = [](const std::string& name) { return name == "head.b" ? "net/b" : name; },
       .transform =
           [](const std::string&, const Tensor& stored) {
             Tensor twice = stored.cast(float32);
             for (float& x : twice.span<float>()) x *= 2;
             return twice;
           }});
  CHECK(net.values(net.b) == std::vector<float>{1.f, 3.f});
  CHECK(two.missing.empty());
}

TEST_CASE("weights: NumPy's files") {
  const TemporaryDirectory folder;
  const fs::path path = folder / "weights.npz";
  Small net;
  save_weights(net.session, net.graph, path);
  CHECK(read_npz(path).size() == 2);
  net.session.set_value(net.a, Tensor::zeros(float32, {2, 3}));
  CHECK(load_weights(net.session, net.graph, path).loaded.size() == 2);
  CHECK(net.values(net.a) == std::vector<float>{1, 2, 3, 4, 5, 6});
  write_npz(path, {{"net/a", Tensor{1.0, 2.0}}});
  const std::string text =
      message_of<DataError>([&] { load_weights(net.session, net.graph, path); });
  CHECK(contains(text, "'net/a' is float32[2,3], 'net/a' float64[2]"));
  CHECK(contains(text, "missing in the file: 'net/b'"));
  CHECK(contains(message_of<BuildError>([&] {
                   save_weights(net.session, net.graph, path, {.metadata = {{"a", "b"}}});
                 }),
                 "has no place for metadata"));
}

TEST_CASE("weights: patterns of names") {
  const NameMap map = {
      {"a.*.weight", "b/*/kernel"}, {"*.x.*", "*/*"}, {"exact", "other"}, {"no*", ""}};
  CHECK(map("a.1.weight") == "b/1/kernel");
  CHECK(map("a.1.2.weight") == "b/1.2/kernel");
  CHECK(map("a.weight") == "a.weight");
  CHECK(map("p.x.q.x.r") == "p/q.x.r");
  CHECK(map("exact") == "other");
  CHECK(map("exactly") == "exactly");
  CHECK(map("nothing") == "");
  CHECK(NameMap()("same") == "same");
  CHECK(map.fitting_none({"nothing", "exact", "a.x.weight"}).empty());
  CHECK(map.fitting_none({"exactly"}) ==
        std::vector<std::string>{"a.*.weight", "*.x.*", "exact", "no*"});
  CHECK(contains(message_of<BuildError>([] {
                   NameMap({{"a.*", "*/b/*"}});
                 }),
                 "'*/b/*' has more stars than 'a.*', which it replaces"));
}

TEST_CASE("weights: what is mistyped is told") {
  const TemporaryDirectory folder;
  Small net;
  const auto saving = [&](const char* name, const SaveOptions& options) {
    return message_of<BuildError>(
        [&] { save_weights(net.session, net.graph, folder / name, options); });
  };
  for (const char* name : {"weights.h5", "weights", "weights.safetensors.bak"}) {
    CHECK(contains(saving(name, {}), "weights are written as .safetensors or .npz"));
    CHECK_FALSE(fs::exists(folder / name));
  }
  CHECK(contains(saving("weights.npz", {.names = {{"not/*", "net/*"}, {"net/*", "*"}}}),
                 "of the name map, 'not/*' fits no variable"));

  const fs::path path =
      write(folder, {{"head.a", Tensor::zeros(float32, {2, 3})}, {"head.b", Tensor{0.5f, 1.5f}}});
  const NameMap map = {{"head.*", "net/*"}, {"haed.*", ""}};
  CHECK(contains(
      message_of<DataError>([&] { load_weights(net.session, net.graph, path, {.names = map}); }),
      "in the name map, but fitting no name in the file: 'haed.*'"));
  CHECK(net.values(net.a).back() == 6);
  // One map for files of which each has a part.
  CHECK(
      load_weights(net.session, net.graph, path, {.strict = false, .names = map}).loaded.size() ==
      2);
}

TEST_CASE("weights: Keras's names") {
  const TemporaryDirectory folder;
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 2}, "x");
  nn::batch_norm(nn::dense(x, {.units = 2}, "dense"),
                 {.training = constant(graph, Tensor(false))}, "bn");
  Session session(graph);
  const Tensor two{1.f, 2.f};
  const fs::path path = write(folder, {{"dense/kernel:0", Tensor{{1.f, 2.f}, {3.f, 4.f}}},
                                       {"dense/bias:0", two},
                                       {"bn/gamma:0", two},
                                       {"bn/beta:0", two},
                                       {"bn/moving_mean:0", two},
                                       {"bn/moving_variance:0", Tensor{5.f, 6.f}}});
  CHECK(load_weights(session, graph, path, {.convention = Convention::keras}).loaded.size() == 6);
  CHECK(session.value(graph.find("dense/kernel")->output()).at<float>({0, 1}) == 2.f);
  CHECK(session.value(graph.find("bn/running_variance")->output()).at<float>({1}) == 6.f);
}

TEST_CASE("weights: a model's variables are saved, an optimiser's are not") {
  const TemporaryDirectory folder;
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 2}, "x");
  const auto norm =
      nn::batch_norm(nn::dense(x, {.units = 1}), {.training = constant(graph, Tensor(true))});
  Adam{.loss_scale = LossScale::dynamic()}.minimize(mean(square(norm.output)));
  Session session(graph);
  std::vector<std::string> names;
  for (const Output& variable : model_variables(graph)) names.push_back(variable.name());
  CHECK(names == std::vector<std::string>{"dense/kernel", "dense/bias", "batch_norm/scale",
                                          "batch_norm/offset", "batch_norm/running_mean",
                                          "batch_norm/running_variance"});
  const fs::path path = folder / "a.safetensors";
  save_weights(session, graph, path, {.metadata = {{"made by", "test"}}});
  CHECK(read_safetensors(path).tensors.size() == 6);
  CHECK(read_safetensors(path).metadata.size() == 1);
  save_weights(session, graph, path, {.variables = variables(graph)});
  CHECK(read_safetensors(path).tensors.size() == variables(graph).size());

  CHECK(contains(
      message_of<BuildError>([&] { save_weights(session, graph, path, {.variables = {x}}); }),
      "'x' is a placeholder, no variable"));
  const Output kernel = graph.find("dense/kernel")->output();
  CHECK(contains(message_of<BuildError>([&] {
                   load_weights(session, graph, path, {.variables = {kernel, kernel}});
                 }),
                 "'dense/kernel' is given twice"));
}

}  // namespace gradgraph::tests

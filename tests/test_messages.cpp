#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>

#include "gradgraph/gradgraph.h"
#include "gradgraph/op.h"
#include "messages.h"
#include "temporary_directory.h"

/// Every message says what is wrong with what, and where in the user's program: op, node, shapes
/// of the run, file and line.
namespace gg = gradgraph;
using gg::Output;
using gg::Tensor;
using gg::tests::message_of;

namespace {

std::string at_line(int line) { return "  (test_messages.cpp:" + std::to_string(line) + ")"; }

/// What the process writes to stderr meanwhile.
std::string stderr_of(const std::function<void()>& call) {
  const gg::tests::TemporaryDirectory directory;
  const std::string path = (directory / "stderr").string();
  std::fflush(stderr);
  const int saved = dup(STDERR_FILENO);
  std::FILE* file = std::fopen(path.c_str(), "w");
  dup2(fileno(file), STDERR_FILENO);
  call();
  std::fflush(stderr);
  dup2(saved, STDERR_FILENO);
  close(saved);
  std::fclose(file);
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

TEST_SUITE("messages") {
  TEST_CASE("what a kernel refuses is told as the user's op, with the shapes of the run") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 3}, "x");
    const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
    const auto begin = gg::placeholder(graph, gg::int64, {2}, "begin");
    const int line = __LINE__ + 1;
    const auto loss = gg::sparse_softmax_cross_entropy(x, labels);
    const auto rows = gg::gather(x, labels);
    const auto part = gg::slice(x, begin, {1, 1});
    const auto gradient = gg::gradients({gg::sum(loss)}, {x})[0];
    const auto second = gg::gradients({gg::sum(gradient * gradient)}, {x})[0];
    const auto rows_gradient = gg::gradients({gg::sum(gg::square(rows))}, {x})[0];
    gg::Session session(graph);
    const gg::Feeds feeds = {{x, Tensor::zeros(gg::float32, {2, 3})},
                             {labels, Tensor{std::int64_t{1}, std::int64_t{7}}},
                             {begin, Tensor{std::int64_t{1}, std::int64_t{7}}}};
    const std::string index = "index 7 (number 1) is outside ";
    const std::string entropy =
        "[sparse_softmax_cross_entropy] 'sparse_softmax_cross_entropy': " + index + "[0,3): ";
    CHECK(message_of([&] { session.run(feeds, loss); }) ==
          entropy + "float32[2,3] x int64[2]" + at_line(line));
    for (const auto& fetches : {std::vector<Output>{gradient}, {loss, gradient}, {second}}) {
      const std::string text = message_of([&] { session.run(feeds, fetches); });
      CHECK_MESSAGE(text.starts_with(entropy), text);
      CHECK_MESSAGE(text.find("int64[2]") != std::string::npos, text);
      CHECK_MESSAGE(text.ends_with(at_line(line)), text);
    }
    CHECK(message_of([&] { session.run(feeds, rows); }) ==
          "[gather] 'gather': " + index + "[0,2): float32[2,3] x int64[2]" + at_line(line + 1));
    const std::string scattered = message_of([&] { session.run(feeds, rows_gradient); });
    CHECK_MESSAGE(scattered.starts_with("[gather] 'gather': " + index + "[0,2): "), scattered);
    // Refused while its kernel is made.
    const std::string sliced = message_of([&] { session.run(feeds, part); });
    CHECK_MESSAGE(sliced.starts_with("[slice] 'slice': "), sliced);
    CHECK_MESSAGE(sliced.find("float32[2,3] x int64[2]") != std::string::npos, sliced);
    CHECK_MESSAGE(sliced.ends_with(at_line(line + 2)), sliced);
  }

  TEST_CASE("operands that do not fit name the op in its scope") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::int32, {2}, "x");
    const auto scope = gg::scope(graph, "fc1");
    // Compilers number the lines of a macro's arguments in ways of their own.
    const int line = __LINE__;
    const std::string of_add = message_of([&] { gg::add(x, gg::Operand(Output())); });
    const std::string of_clip = message_of([&] { gg::clip(x, 0, 2.5); });
    CHECK(of_add == "[add] 'fc1/add': an operand beside 'x' is empty" + at_line(line + 1));
    CHECK(of_clip ==
          "[clip] 'fc1/clip': 2.5 is no int32, the dtype of 'x' int32[2]" + at_line(line + 2));
    CHECK(message_of([&] {
            gg::where(gg::equal(x, x), x, 1e10);
          }).starts_with("[where] 'fc1/where': 10000000000 is no int32"));
    CHECK(message_of([&] { gg::softmax(Output()); }).starts_with("[softmax] 'softmax': input 0"));
    CHECK(message_of([&] {
            gg::concat({x, Output()}, 0);
          }).starts_with("[concat] 'fc1/concat': input 1 is empty: int32[2] x (empty)"));
  }

  TEST_CASE("a group or an order over what is not there, or in another graph") {
    gg::Graph graph, other;
    const auto x = gg::placeholder(other, gg::float32, {2}, "x");
    const auto y = gg::placeholder(graph, gg::float32, {2}, "y");
    const int nodes = graph.num_nodes();
    const auto group = [&](Output op) { return message_of([&] { gg::group(graph, {y, op}); }); };
    const auto order = [&](Output op) {
      return message_of([&] { static_cast<void>(gg::control_dependencies(graph, {op})); });
    };
    const int line = __LINE__ - 4;
    CHECK(group(x) == "[group] 'group': 'x' is of another graph" + at_line(line));
    CHECK(group(Output()) == "[group] 'group': op 1 is empty" + at_line(line));
    CHECK(order(Output()) == "control_dependencies: number 0 of 1 is empty" + at_line(line + 2));
    CHECK(order(x) == "control_dependencies: 'x' is of another graph" + at_line(line + 2));
    CHECK(graph.num_nodes() == nodes);
  }

  TEST_CASE("a gradient that fails far from its node is told which one it is") {
    gg::OpDef op;
    op.name = "messages_without_attribute";
    op.infer = [](gg::InferContext& context) {
      context.output(context.dtype(0), context.shape(0));
    };
    op.gradient = [](const gg::GradientContext& context) {
      return std::vector<Output>{context.grad() * context.attribute<double>("slope")};
    };
    gg::OpRegistry registry;
    const gg::OpDef& added = registry.add(op);
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    const int line = __LINE__ + 1;
    const auto y = graph.add(added, {x}, {}, gg::SourceLocation::current(), "y").output();
    CHECK(message_of([&] { gg::gradients({y}, {x}); }) ==
          "[messages_without_attribute] 'y': its gradient: attribute 'slope' is missing or of "
          "another type" +
              at_line(line));
  }

  TEST_CASE("a tensor that is asked for what it is not names the line that asks") {
    const Tensor x = Tensor::zeros(gg::float32, {2, 3});
    const int line = __LINE__;
    const std::string of_item = message_of([&] { x.item<float>(); });
    const std::string of_data = message_of([&] { x.data<double>(); });
    CHECK(of_item == "item() needs one element, the shape is [2,3]" + at_line(line + 1));
    CHECK(of_data ==
          "a float32[2,3] tensor has no float64 data: `.cast(gg::float64)` converts it" +
              at_line(line + 2));
    CHECK(message_of([&] { x.span<bool>(); }).find("`.cast(gg::boolean)`") != std::string::npos);
    const auto names_a_line = [](const std::string& text) {
      CHECK_MESSAGE(text.find("  (test_messages.cpp:") != std::string::npos, text);
    };
    names_a_line(message_of([&] { x.at<float>({2, 0}); }));
    names_a_line(message_of([&] { x.at<float>({0}); }));
    names_a_line(message_of([&] { x.reshaped({4}); }));
    names_a_line(message_of([&] { Tensor(gg::float32, {gg::any, 2}); }));
    names_a_line(message_of([&] { Tensor::zeros(gg::float32, {1LL << 40, 1LL << 40}); }));
    names_a_line(message_of([&] { Tensor::full(gg::int64, {1LL << 40, 1LL << 40}, 1); }));
    names_a_line(message_of([&] { Tensor::from(std::vector<float>{1, 2}, {3}); }));
    names_a_line(message_of([] { Tensor{{1.f, 2.f}, {3.f}}; }));
    names_a_line(message_of([] { Tensor().reshaped({1}); }));
    names_a_line(message_of([] { Tensor().item<float>(); }));
  }

  TEST_CASE("what programs call beside sessions names the line of the call") {
    gg::Graph graph, other;
    const auto x = gg::placeholder(other, gg::float32, {2}, "x");
    const auto v = gg::variable(graph, Tensor{1.f, 2.f}, "v");
    const auto loss = gg::sum(v);
    const gg::data::Dataset samples{{"images", Tensor::zeros(gg::float32, {4, 2})},
                                    {"labels", Tensor::zeros(gg::int64, {4})}};
    gg::Session session(graph);
    std::ostringstream out;
    const std::vector<std::pair<std::string, std::function<void()>>> cases = {
        {"write_dot: fetch 'x' is of another graph",
         [&] { gg::write_dot(graph, out, {.fetches = {x}}); }},
        {"write_dot: fetch 1 is empty",
         [&] {
           gg::write_dot(graph, out, {.fetches = {v, Output()}});
         }},
        {"batches: a batch size of 0; it must be 1 or more",
         [&] { gg::data::batches(samples, 0); }},
        {"batches: a prefetch of -1; it must be 0 or more",
         [&] { gg::data::batches(samples, 2, {.prefetch = -1}); }},
        {"batches: 4097 threads; 0 (all cores) to 4096 can be",
         [&] { gg::data::batches(samples, 2, {.threads = 4097}); }},
        {"the data set has no array 'image'; it has images, labels",
         [&] { static_cast<void>(samples["image"]); }},
        {"a data set has no first -1 samples", [&] { static_cast<void>(samples.first(-1)); }},
        {"-1 is no number of threads: 0 (all cores) to 4096",
         [&] { gg::Session(graph, {.threads = -1}); }},
        {"fetch 1 of 2 is empty",
         [&] {
           session.run({}, {loss, Output()});
         }},
        {"feed 0 of 1 is empty", [&] { session.prepare({Output()}, {loss}); }},
        {"'x' is of another graph", [&] { static_cast<void>(session.is_initialized(x)); }},
        {"adam: beta1 must be in [0, 1), not 1", [&] { gg::Adam{.beta1 = 1}.minimize(loss); }},
        {"adam_w: weight_decay must not be negative, but is -1",
         [&] { gg::AdamW{.weight_decay = -1}.minimize(loss); }},
        {"rms_prop: epsilon must not be negative, but is nan",
         [&] { gg::RmsProp{.epsilon = std::nan("")}.minimize(loss); }},
    };
    for (const auto& [part, call] : cases) {
      const std::string text = message_of(call);
      CHECK_MESSAGE(text.starts_with(part), text);
      CHECK_MESSAGE(text.find("  (test_messages.cpp:") != std::string::npos, text);
    }
  }

  TEST_CASE("what a file refuses is told with the line that asked for it") {
    const gg::tests::TemporaryDirectory directory;
    // No file, and no place for one: a file stands where its folder would be.
    std::ofstream(directory / "file") << "text";
    const std::filesystem::path none = directory / "file" / "nothing";
    gg::Graph graph;
    const auto v = gg::variable(graph, Tensor{1.f, 2.f}, "v");
    gg::Session session(graph);
    const auto value = session.run(v);
    const std::vector<gg::NamedTensor> arrays = {{"v", value}};
    const gg::Tensor image(gg::uint8, {2, 2, 1});
    const int line = __LINE__ + 2;
    const std::vector<std::function<void()>> calls = {
        [&] { gg::data::read_idx(none); },
        [&] { gg::data::read_mnist(none); },
        [&] { gg::data::find_mnist(none); },
        [&] { gg::data::read_cifar10(none); },
        [&] { gg::data::read_cifar100(none); },
        [&] { gg::data::read_csv(none); },
        [&] { gg::data::read_image(none); },
        [&] { gg::data::read_image_folder(none); },
        [&] { gg::data::write_png(none, image); },
        [&] { gg::read_npy(none); },
        [&] { gg::map_npy(none); },
        [&] { gg::write_npy(none, value); },
        [&] { gg::read_npz(none); },
        [&] { gg::write_npz(none, arrays); },
        [&] { gg::read_safetensors(none); },
        [&] { gg::write_safetensors(none, arrays); },
        [&] { gg::load_weights(session, graph, none); },
        [&] { gg::load_weights(session, graph, none.string() + ".npz"); },
        [&] { gg::save_weights(session, graph, none.string() + ".npz"); },
        [&] { gg::save_weights(session, graph, none.string() + ".safetensors"); },
        [&] { gg::Checkpoints({.directory = none}); },
        [&] { gg::restore_checkpoint(session, graph, none); },
        [&] { gg::save_bundle(session, graph, gg::NumericsError("planted"), none); },
        [&] { gg::read_bundle(none); },
        [&] { gg::replay(graph, none); },
        [&] { gg::EventWriter{none}; },
        [&] { gg::Profile().write_trace(none); },
        [&] { gg::write_dot(graph, none); },
    };
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const std::string message = message_of<gg::DataError>(calls[i]);
      CAPTURE(i);
      CHECK_MESSAGE(message.ends_with(at_line(line + static_cast<int>(i))), message);
      CHECK_MESSAGE(message.find("test_messages.cpp") == message.rfind("test_messages.cpp"),
                    message);
    }
  }

  TEST_CASE("a loop that builds in each round is told so once, after 1,000 rounds") {
    gg::Graph graph;
    const auto v = gg::variable(graph, Tensor{1.f, 2.f}, "v");
    gg::Session session(graph);
    const auto grow = [&](int rounds) {
      for (int i = 0; i < rounds; ++i) session.run(-v);
    };
    // The first run has nothing to compare with.
    CHECK(stderr_of([&] { grow(1000); }).empty());
    const std::string text = stderr_of([&] { grow(1); });
    CHECK_MESSAGE(text.find("the graph has grown before each of 1000 runs, to " +
                            std::to_string(graph.num_nodes()) + " nodes") != std::string::npos,
                  text);
    CHECK_MESSAGE(text.find("Graph::finalize()") != std::string::npos, text);
    CHECK(stderr_of([&] { grow(1001); }).empty());
  }

  TEST_CASE("a mask of keys by sample is none of queries and keys, also of unknown samples") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 4, 6}, "x");
    const auto mask = gg::placeholder(graph, gg::boolean, {gg::any, 4}, "mask");
    const std::string message =
        message_of([&] { gg::nn::MultiHeadAttention({})(x, {.mask = mask}); });
    CHECK(message.find("one of [N,keys] must be [N,1,1,keys]") != std::string::npos);
  }

  TEST_CASE("a mask of three axes could be of samples or of heads, and is refused") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 4, 6}, "x");
    const auto attend = [&](const gg::Shape& shape) {
      return gg::nn::MultiHeadAttention({.heads = 2})(
          x, {.mask = gg::placeholder(graph, gg::boolean, shape)});
    };
    for (const gg::Shape& shape : {gg::Shape{gg::any, 4, 4}, gg::Shape{2, 4, 4}})
      CHECK(message_of([&] { attend(shape); }).find("give it four, [N,1,queries,keys] or ") !=
            std::string::npos);
    CHECK(attend({1, 4, 4}).shape() == x.shape());
  }

  TEST_CASE("class numbers in place of rows are told which loss takes them") {
    gg::Graph graph;
    const auto logits = gg::placeholder(graph, gg::float32, {gg::any, 3}, "logits");
    const auto classes = gg::placeholder(graph, gg::int64, {gg::any}, "classes");
    for (const double smoothing : {0.0, 0.1})
      CHECK(
          message_of([&] { gg::softmax_cross_entropy(logits, classes, smoothing); })
              .find("[softmax_cross_entropy] 'softmax_cross_entropy': labels are int64[?]: class "
                    "numbers are for sparse_softmax_cross_entropy, or gg::one_hot") !=
          std::string::npos);
  }

  TEST_CASE("feeds that are swapped are told so; a dtype alone that it can be converted") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 3}, "x");
    const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
    const auto y = gg::sum(x) + gg::cast(gg::sum(labels), gg::float32);
    gg::Session session(graph);
    const Tensor rows = Tensor::zeros(gg::float32, {2, 3}),
                 classes = Tensor::zeros(gg::int64, {2});
    CHECK(message_of([&] {
            session.run({{x, classes}, {labels, rows}}, y);
          })
              .find("'x' takes float32[?,3], not int64[2], which would do for 'labels': are the "
                    "two swapped?") != std::string::npos);
    CHECK(message_of([&] {
            session.run({{x, rows}, {labels, Tensor::zeros(gg::float32, {2})}}, y);
          }).find("`.cast(gg::int64)` converts a Tensor") != std::string::npos);
    const std::string neither = message_of([&] {
      session.run({{x, Tensor::zeros(gg::float64, {5})}, {labels, classes}}, y);
    });
    CHECK(neither.find("not float64[5]") != std::string::npos);
    CHECK(neither.find("converts") == std::string::npos);
    CHECK(neither.find("swapped") == std::string::npos);
  }

  TEST_CASE("a training whose loss is not finite is told so once, and where to look") {
    const auto told = [](double rate) {
      gg::Graph graph;
      const auto x = gg::placeholder(graph, gg::float32, {gg::any}, "x");
      const auto w = gg::variable(graph, Tensor(1.f), "w");
      gg::TrainingStep step{.batch = {.arrays = {{"x", x}}}};
      step.loss = gg::mean(gg::square(w * x));
      step.train = gg::GradientDescent{.learning_rate = rate}.minimize(step.loss);
      gg::Session session(graph);
      const gg::data::Dataset data{{"x", Tensor{1.f, 2.f, 3.f, 4.f}}};
      return stderr_of([&] {
        gg::fit(session, step, data, {.epochs = 5, .batch_size = 2, .progress_bar = false});
      });
    };
    const std::string text = told(1e30);
    CHECK_MESSAGE(text.starts_with("warning: the loss is not finite; "), text);
    CHECK(text.find("check_numerics") != std::string::npos);
    CHECK(text.find("warning", 1) == std::string::npos);
    CHECK(told(1e-3).empty());
  }

  TEST_CASE("a loop that fetches what is there, or in many ways, is told nothing") {
    gg::Graph graph;
    const auto v = gg::variable(graph, Tensor{1.f, 2.f}, "v");
    std::vector<Output> values;
    for (int i = 0; i < 1100; ++i) values.push_back(v * static_cast<float>(i));
    gg::Session session(graph);
    CHECK(stderr_of([&] {
            for (const Output& value : values) session.run(value);
          }).empty());
  }
}

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "graph/program.h"
#include "pass_drawing.h"
#include "simulated_device.h"

/// A device's kernels may decline some nodes of their op, such as programs that are too long.
/// Passes make no node that it then has no kernel for.
using namespace gradgraph;

namespace {

/// Which nodes the kernels of the device "choosy" decline.
std::function<bool(const Node&)> declines;

/// What passes make of other ops.
std::vector<std::string> made_by_passes() {
  std::vector<std::string> ops = {"conv2d_relu_pool",
                                  "conv2d_relu_pool_input_grad",
                                  "conv2d_relu_pool_filter_grad",
                                  "softmax_cross_entropy_grad",
                                  "sparse_softmax_cross_entropy_grad",
                                  "log_softmax",
                                  "conv2d",
                                  "max_pool2d"};
  for (const OpDef* op : op_registry().all())
    if (op->traits.fused) ops.push_back(op->name);
  return ops;
}

void add_choosy_device() {
  tests::add_simulated_devices("choosy", 1, made_by_passes());
  const auto make = [](const KernelSite& site) {
    return declines(site.node()) ? Kernel{} : kernel_registry().make(site, "cpu");
  };
  for (const std::string& op : made_by_passes())
    for (const DType dtype : {float32, float64, int64, boolean})
      if (kernel_registry().has(op, "cpu", dtype))
        kernel_registry().add_faster(op, "choosy", {dtype}, make);
}

/// A network with all that passes look for; images are NCHW or NHWC.
struct Network {
  explicit Network(Layout layout) {
    const bool nchw = layout == Layout::nchw;
    images = placeholder(graph, float32, nchw ? Shape{4, 1, 8, 8} : Shape{4, 8, 8, 1}, "images");
    labels = placeholder(graph, int64, {4}, "labels");
    const auto weights = [&](const Shape& shape) {
      return variable(graph, Tensor::full(float32, shape, 0.1));
    };
    const Output filter = weights({3, 3, 1, 2}), bias = weights({2}), dense = weights({18, 3});
    Output x = conv2d(images, filter, {.layout = layout});
    x = max_pool2d(relu(bias_add(x, bias, layout)), {.layout = layout});
    x = tanh(matmul(reshape(x, {4, 18}), dense) * 0.5);
    const Output loss = mean(sparse_softmax_cross_entropy(x, labels));
    const Output written_out = sum(log(softmax(x)) * x);
    fetches = {loss, written_out, Adam{.learning_rate = 0.01}.minimize(loss + written_out * 0.1)};
    variables = {filter, bias, dense};
  }
  std::vector<Tensor> train(const SessionOptions& options) {
    Session session(graph, options);
    Callable step = session.prepare({images, labels}, fetches);
    Tensor pixels(float32, images.shape());
    for (std::int64_t i = 0; i < 256; ++i)
      pixels.data<float>()[i] = static_cast<float>(std::sin(static_cast<double>(i)));
    std::vector<Tensor> results;
    for (int i = 0; i < 2; ++i)
      for (const Tensor& result : step(pixels, Tensor{0L, 2L, 1L, 0L}))
        if (result) results.push_back(result.clone());
    for (const Output& weights : variables) results.push_back(session.value(weights));
    return results;
  }
  /// How many rewrites there are for the device.
  std::size_t count_rewrites() {
    const std::string lines =
        Session(graph, {.device = "choosy"})
            .explain_passes({{images, Tensor::zeros(float32, images.shape())},
                             {labels, Tensor{0L, 2L, 1L, 0L}}},
                            fetches);
    return static_cast<std::size_t>(std::count(lines.begin(), lines.end(), '\n'));
  }

  Graph graph;
  Output images, labels;
  std::vector<Output> fetches, variables;
};

void check_close(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i)
    for (std::int64_t j = 0; j < expected[i].num_elements(); ++j)
      CHECK(actual[i].data<float>()[j] ==
            doctest::Approx(expected[i].data<float>()[j]).epsilon(1e-4));
}

}  // namespace

TEST_SUITE("passes, declined nodes") {
  TEST_CASE("what a device's kernels decline is not made for it") {
    add_choosy_device();
    for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
      Network network(layout);
      const std::vector<Tensor> expected =
          network.train({.threads = 1, .disabled_passes = tests::all_passes_but({})});
      const auto check = [&](const std::string& what,
                             std::function<bool(const Node&)> condition) {
        CAPTURE(what);
        CAPTURE((layout == Layout::nchw));
        declines = std::move(condition);
        check_close(network.train({.device = "choosy", .threads = 1, .soft_placement = false}),
                    expected);
        return network.count_rewrites();
      };
      std::set<std::string> made;
      const auto all = check("nothing", [&](const Node& node) {
        made.insert(node.op().name);
        return false;
      });
      for (const char* op : {"fused", "fused_update", "fused_sums", "matmul_with_epilogue",
                             "matmul_with_update", "conv2d_relu_pool",
                             "conv2d_relu_pool_filter_grad", "sparse_softmax_cross_entropy_grad"})
        CHECK_MESSAGE(made.contains(op), op);
      // Images as they are written stay possible, those of another layout do not.
      const auto is_written = [&](const Node& node) {
        return (node.op().name == "conv2d" || node.op().name == "max_pool2d") &&
               node.attributes().get<std::string>("layout") ==
                   (layout == Layout::nchw ? "nchw" : "nhwc");
      };
      CHECK(check("everything", [&](const Node& node) { return !is_written(node); }) < all);
      for (const std::string& op : made)
        check(op, [&](const Node& node) { return node.op().name == op && !is_written(node); });
      check("programs of more than two instructions", [](const Node& node) {
        return node.attributes().find("program") && program_of(node).instructions.size() > 2;
      });
      declines = [](const Node&) { return false; };
    }
  }
}

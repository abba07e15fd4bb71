/// What loops of our own gain over the reference kernels, which are xtensor expressions: a line
/// of a table for each op and shape, with the least time of each kernel on one thread. The two
/// take turns.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

namespace gg = gradgraph;

namespace {

using Build = std::function<gg::Output(gg::Output x)>;

struct Case {
  std::string op;  ///< whose node is timed
  gg::Shape shape;
  std::string what;
  Build build;
  gg::DType dtype = gg::float32;
};

/// Numbers in [-1, 1), in no order that a branch could learn; integers in [0, 10).
gg::Tensor numbers(const gg::Shape& shape, gg::DType dtype) {
  gg::Tensor values(gg::float64, shape);
  std::uint32_t seed = 1;
  for (double& value : values.span<double>()) {
    seed = seed * 1664525u + 1013904223u;
    value = dtype == gg::int64 ? (seed >> 8) % 10 : (seed >> 8) * 0x1p-23 - 1;
  }
  return values.cast(dtype);
}

/// A graph of one case, with one kind of kernels.
class Run {
 public:
  Run(const Case& measured, bool reference) : op_(measured.op) {
    const gg::Output x = gg::placeholder(graph_, measured.dtype, measured.shape);
    const gg::Output y = measured.build(x);
    session_ = std::make_unique<gg::Session>(
        graph_, gg::SessionOptions{.threads = 1,
                                   .disabled_passes = {"fuse_elementwise", "merge_elementwise",
                                                       "fuse_reductions", "fuse_pooling",
                                                       "fuse_cross_entropy", "lower_bias_add"},
                                   .reference_kernels = reference,
                                   .node_times = true});
    step_.emplace(session_->prepare({x}, {y}));
    value_ = numbers(measured.shape, measured.dtype);
  }
  void step() {
    (*step_)(value_);
    for (const gg::NodeTime& node : session_->last_run().nodes)
      if (node.kernel.substr(0, node.kernel.find(' ')) == op_) {
        least_ = std::min(least_, node.seconds);
      }
  }
  double least() const { return least_; }

 private:
  std::string op_;
  gg::Graph graph_;
  std::unique_ptr<gg::Session> session_;
  std::optional<gg::Callable> step_;
  gg::Tensor value_;
  double least_ = 1e9;
};

std::vector<Case> cases() {
  using gg::Output;
  std::vector<Case> all;
  const auto add = [&](std::string op, gg::Shape shape, std::string what, Build build,
                       gg::DType dtype = gg::float32) {
    all.push_back({std::move(op), std::move(shape), std::move(what), std::move(build), dtype});
  };
  const gg::Shape cube = {64, 128, 96}, flat = {512, 1000};
  for (const int axis : {0, 1, 2}) {
    const std::string along = "axis " + std::to_string(axis);
    add("sum", cube, along, [=](Output x) { return gg::sum(x, axis); });
    add("max", cube, along, [=](Output x) { return gg::max(x, axis); });
    add("argmax", cube, along, [=](Output x) { return gg::argmax(x, axis); });
  }
  for (const int axis : {0, 2})
    add("cumsum", cube, "axis " + std::to_string(axis),
        [=](Output x) { return gg::cumsum(x, axis); });
  for (const int axis : {0, 2})
    add("cumprod", cube, "axis " + std::to_string(axis),
        [=](Output x) { return gg::cumprod(x, axis); });
  for (const int axis : {0, 2})
    add("linear_recurrence", cube, "axis " + std::to_string(axis),
        [=](Output x) { return gg::linear_recurrence(x, x, axis); });
  add("prod", cube, "axis 2", [](Output x) { return gg::prod(x, 2); });
  add("sum_to", cube, "to [128,1]", [](Output x) { return gg::sum_to(x, {128, 1}); });
  add("transpose", cube, "reversed", [](Output x) { return gg::transpose(x); });
  add("transpose", cube, "(1,0,2)", [](Output x) { return gg::transpose(x, {1, 0, 2}); });
  add("flip", cube, "all axes", [](Output x) { return gg::flip(x); });
  add("strided_slice", cube, "every second of axis 2", [](Output x) {
    return gg::strided_slice(x, {{}, {}, {.step = 2}});
  });
  add("concat", cube, "twice, axis 1", [](Output x) { return gg::concat({x, x}, 1); });
  add("slice", cube, "half of each axis", [](Output x) {
    return gg::slice(x, {16, 32, 24}, {32, 64, 48});
  });
  add("pad", cube, "1 on each side", [](Output x) { return gg::pad(x, {1, 1, 1}, {1, 1, 1}); });
  add("tile", cube, "(1,2,2)", [](Output x) { return gg::tile(x, {1, 2, 2}); });
  add("broadcast_to", {128, 1}, "to [64,128,96]", [](Output x) {
    return gg::broadcast_to(x, {64, 128, 96});
  });
  add("gather", cube, "4096 of axis 0", [](Output x) {
    return gg::gather(x, gg::constant(x.graph(), numbers({4096}, gg::int64)));
  });
  add("gather", cube, "96 of axis 2", [](Output x) {
    return gg::gather(x, gg::constant(x.graph(), numbers({96}, gg::int64)), 2);
  });
  add("scatter_add", {4096, 96}, "into 10 rows", [](Output x) {
    return gg::scatter_add({10, 96}, gg::constant(x.graph(), numbers({4096}, gg::int64)), x);
  });
  add(
      "one_hot", {65536}, "depth 10", [](Output x) { return gg::one_hot(x, 10); }, gg::int64);
  for (const auto& [name, function] :
       std::vector<std::pair<std::string, Output (*)(Output, std::int64_t, gg::Where)>>{
           {"softmax", gg::softmax}, {"log_softmax", gg::log_softmax}}) {
    add(name, flat, "axis 1", [f = function](Output x) { return f(x, 1, {}); });
    add(name, flat, "axis 0", [f = function](Output x) { return f(x, 0, {}); });
  }
  add("sparse_softmax_cross_entropy", flat, "", [](Output x) {
    return gg::sparse_softmax_cross_entropy(x,
                                            gg::constant(x.graph(), numbers({512}, gg::int64)));
  });
  add("softmax_cross_entropy", flat, "",
      [](Output x) { return gg::softmax_cross_entropy(x, x); });
  add("bias_add", {64, 12, 12, 48}, "nhwc", [](Output x) {
    return gg::bias_add(x, gg::constant(x.graph(), numbers({48}, gg::float32)));
  });
  const gg::Shape images = {64, 24, 24, 24};
  add("max_pool2d", images, "2x2", [](Output x) { return gg::max_pool2d(x); });
  add("max_pool2d_grad", images, "2x2", [](Output x) {
    return gg::max_pool2d_grad(x, gg::slice(x, {0, 0, 0, 0}, {64, 12, 12, 24}));
  });
  add("max_pool2d_pick", images, "2x2", [](Output x) { return gg::max_pool2d_pick(x, x); });
  add("avg_pool2d", images, "2x2", [](Output x) { return gg::avg_pool2d(x); });
  add("avg_pool2d_grad", {64, 12, 12, 24}, "2x2", [](Output x) {
    return gg::avg_pool2d_grad({64, 24, 24, 24}, x);
  });
  for (const gg::DType dtype : {gg::float32, gg::float64}) {
    const char* name = dtype == gg::float32 ? "5x5, 24 to 48" : "5x5, 24 to 48, float64";
    const auto filter = [dtype](Output x) {
      return gg::constant(x.graph(), numbers({5, 5, 24, 48}, dtype));
    };
    add(
        "conv2d", {8, 12, 12, 24}, name, [=](Output x) { return gg::conv2d(x, filter(x)); },
        dtype);
    add(
        "conv2d_input_grad", {8, 8, 8, 48}, name,
        [=](Output x) {
          return gg::conv2d_input_grad({8, 12, 12, 24}, filter(x), x);
        },
        dtype);
    add(
        "conv2d_filter_grad", {8, 12, 12, 24}, name,
        [=](Output x) {
          return gg::conv2d_filter_grad(x, {5, 5, 24, 48},
                                        gg::constant(x.graph(), numbers({8, 8, 8, 48}, dtype)));
        },
        dtype);
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  int steps = 15;
  std::string only;
  CLI::App app("Times loops of our own beside the reference kernels.");
  app.add_option("--steps", steps, "Runs of each kernel")->capture_default_str();
  app.add_option("--op", only, "Only this op");
  CLI11_PARSE(app, argc, argv);
  try {
    std::printf(
        "| op | of | | own, us | reference, us | reference / own |\n"
        "| --- | --- | --- | --- | --- | --- |\n");
    for (const Case& measured : cases()) {
      if (!only.empty() && measured.op != only) continue;
      Run own(measured, false), reference(measured, true);
      for (int i = 0; i < steps; ++i) {
        own.step();
        reference.step();
      }
      std::printf("| %s | %s | %s | %.1f | %.1f | %.1f |\n", measured.op.c_str(),
                  measured.shape.to_string().c_str(), measured.what.c_str(), own.least() * 1e6,
                  reference.least() * 1e6, reference.least() / own.least());
      std::fflush(stdout);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

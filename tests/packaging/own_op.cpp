#include <gradgraph/gradgraph.h>

#include <cmath>
#include <iostream>

// An op of the program: softsign(x) = x / (width + |x|), with its gradient and kernel.

gg::Output softsign(gg::Output x, double width, gg::Where where = gg::Where::current()) {
  const gg::OpDef& op = gg::op_registry().at("softsign");
  return x.graph().add(op, {x}, {{"width", width}}, where).output();
}

std::vector<gg::Output> softsign_gradient(const gg::GradientContext& c) {
  const auto width = c.attribute<double>("width");
  return {c.grad() * width / gg::square(gg::abs(c.input(0)) + width)};
}

void infer_softsign(gg::InferContext& context) {
  context.require_dtype(0, {gg::float32, gg::float64});
  context.require(context.attribute<double>("width") > 0, "the width must be positive");
  context.output(context.dtype(0), context.shape(0));
}

template <class T>
gg::CpuKernel make_softsign(const gg::KernelNode& node) {
  const auto width = static_cast<T>(node.attributes.get<double>("width"));
  return {[width, threads = node.threads](const gg::KernelCall& call) {
    const auto x = call.input<T>(0);
    const auto y = call.output<T>();
    gg::run_parallel(std::ssize(x), 4096, threads, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
        y[i] = x[i] / (width + std::abs(x[i]));
    });
  }};
}

int main() {
  gg::op_registry()
      .add({"softsign", {}, infer_softsign, softsign_gradient})
      .describe("x / (width + |x|)", {"x"})
      .attribute("width", 1.0, "where the result is half of its limit");
  gg::register_cpu_kernel("softsign", {gg::float32}, make_softsign<float>);
  gg::register_cpu_kernel("softsign", {gg::float64}, make_softsign<double>);

  gg::Graph graph;
  const auto x = gg::variable(graph, gg::Tensor{3.f, -1.f}, "x");
  const auto y = softsign(x, 1);
  const auto slope = gg::gradients({y}, {x})[0];
  gg::Session session{graph};
  std::cout << session.run(y) << "\n" << session.run(slope) << "\n";
  try {
    softsign(x, -1);
  } catch (const gg::BuildError& error) {
    std::cout << error.what() << "\n";
  }
}

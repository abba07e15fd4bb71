/// How the stages between a user's graph and its first run grow with the graph: for chains and
/// fans of 10^3 to 10^6 nodes, the gradients' among them, the time and memory that each stage
/// takes per node. Prints a table; memory is what the process holds (resident set), so each row
/// has a process of its own.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "passes/pass_list.h"
#include "passes/specialize.h"
#include "session/compiled_plan.h"
#include "session/evaluate.h"

namespace gg = gradgraph;

namespace {

/// A graph with a loss and the variables by which it is differentiated.
struct Model {
  gg::Output loss;
  std::vector<gg::Output> variables;
};

gg::Output small_variable(gg::Graph& graph, const gg::Shape& shape, const char* name) {
  return gg::variable(graph, gg::Tensor::full(gg::float32, shape, 0.5), name);
}

/// Each node reads the one before: tanh, multiply, add, tanh, ...
Model make_chain(gg::Graph& graph, int nodes) {
  const gg::Output scale = small_variable(graph, {4}, "scale");
  const gg::Output shift = small_variable(graph, {4}, "shift");
  gg::Output x = scale;
  while (graph.num_nodes() < nodes) {
    x = gg::tanh(x);
    x = x * scale;
    x = x + shift;
  }
  return {gg::sum(x), {scale, shift}};
}

/// Many nodes read one, and a tree of additions brings them together again.
Model make_fan(gg::Graph& graph, int nodes) {
  const gg::Output root = small_variable(graph, {4}, "root");
  const gg::Output scale = small_variable(graph, {4}, "scale");
  std::vector<gg::Output> row;
  gg::Output factor = scale;
  for (int i = 0; i < nodes / 3; ++i) {
    factor = gg::neg(factor);
    row.push_back(root * factor);
  }
  while (row.size() > 1) {
    std::vector<gg::Output> sums;
    for (std::size_t i = 0; i + 1 < row.size(); i += 2) sums.push_back(row[i] + row[i + 1]);
    if (row.size() % 2 == 1) sums.push_back(row.back());
    row = std::move(sums);
  }
  return {gg::sum(row.front()), {root, scale}};
}

/// Dense layers, one after the other, all with one pair of variables.
Model make_layers(gg::Graph& graph, int nodes) {
  const gg::Output kernel = small_variable(graph, {4, 4}, "kernel");
  const gg::Output bias = small_variable(graph, {4}, "bias");
  gg::Output x = kernel;
  while (graph.num_nodes() < nodes) x = gg::relu(gg::matmul(x, kernel) + bias);
  return {gg::sum(x), {kernel, bias}};
}

struct Kind {
  const char* name;
  Model (*make)(gg::Graph&, int nodes);
  double with_gradients;  ///< nodes with the gradients', for each node without
};
constexpr Kind kKinds[] = {{"chain", make_chain, 11.0 / 3},
                           {"fan", make_fan, 8.0 / 3},
                           {"layers", make_layers, 10.0 / 3}};

std::size_t resident_bytes(const char* field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == field) {
      std::size_t kilobytes = 0;
      status >> kilobytes;
      return kilobytes * 1024;
    }
  return 0;
}

/// Runs one stage after the other and prints what each took, per node of the user's graph.
class Row {
 public:
  Row(const char* kind, const gg::Graph& graph) : graph_(graph), kind_(kind) {
    start_bytes_ = resident_bytes("VmRSS:");
  }
  void stage(const char* name, const std::function<void()>& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    total_ += passed.count();
    stages_.push_back({name, passed.count(), resident_bytes("VmRSS:")});
  }
  void print() const {
    const double nodes = graph_.num_nodes();
    std::size_t before = start_bytes_;
    for (const Stage& stage : stages_) {
      std::printf("%-7s %9d  %-10s %8.3f us %8.0f bytes\n", kind_, graph_.num_nodes(), stage.name,
                  stage.seconds * 1e6 / nodes,
                  (static_cast<double>(stage.bytes) - static_cast<double>(before)) / nodes);
      before = stage.bytes;
    }
    const auto peak = static_cast<double>(resident_bytes("VmHWM:") - start_bytes_);
    std::printf("%-7s %9d  %-10s %8.3f us %8.0f bytes at the peak, %.3f s\n", kind_,
                graph_.num_nodes(), "all", total_ * 1e6 / nodes, peak / nodes, total_);
  }

 private:
  struct Stage {
    const char* name;
    double seconds;
    std::size_t bytes;
  };
  const gg::Graph& graph_;
  const char* kind_;
  std::size_t start_bytes_ = 0;
  std::vector<Stage> stages_;
  double total_ = 0;
};

/// The stages as CompiledPlan goes through them, then that as a whole.
void measure(const Kind& kind, int nodes) {
  gg::Graph graph;
  gg::kernel_registry();
  Row row(kind.name, graph);
  Model model;
  row.stage("build",
            [&] { model = kind.make(graph, static_cast<int>(nodes / kind.with_gradients)); });
  std::vector<gg::Output> fetches;
  row.stage("gradients", [&] { fetches = gg::gradients({model.loss}, model.variables); });
  fetches.push_back(model.loss);

  const auto has_kernel = [](const gg::Node& node, std::string_view op) {
    return gg::kernel_registry().has(op, "cpu", gg::kernel_dtype(node));
  };
  const auto supports = [](const gg::Node& node, std::string_view device_kind) {
    const gg::Traits& traits = node.op().traits;
    return traits.no_kernel || traits.moves_value ||
           gg::kernel_registry().supports(node, device_kind);
  };
  gg::SpecializedGraph copy;
  row.stage("specialize",
            [&] { copy = gg::specialize(graph, {}, fetches, gg::host_evaluator()); });
  row.stage("passes", [&] {
    gg::RewriteLog log;
    gg::run_passes(*copy.graph,
                   {.fetches = copy.fetches,
                    .can_fuse = gg::kernel_registry().preferences("cpu").can_fuse,
                    .has_kernel = has_kernel,
                    .takes = [&](const gg::Node& node) { return supports(node, "cpu"); },
                    .evaluate = gg::host_evaluator()},
                   {}, log);
    if (log.count() > 0) gg::prune(copy);
  });
  gg::PlacementOptions options;
  options.supports = supports;
  gg::Placement placement;
  row.stage("placement", [&] { placement = gg::place(*copy.graph, options); });
  gg::Plan plan;
  row.stage("plan", [&] {
    plan = gg::make_plan(*copy.graph, placement,
                         {.fetches = copy.fetches,
                          .is_host = {true},
                          .workspace_bytes = [](const gg::Node&) { return std::size_t{0}; }});
  });
  std::vector<gg::Kernel> kernels;
  row.stage("kernels", [&] {
    kernels.reserve(plan.steps.size());
    for (const gg::PlannedStep& step : plan.steps)
      if (!step.node->op().traits.moves_value)
        kernels.push_back(gg::make_kernel(gg::KernelSite(*step.node), "cpu"));
  });
  row.print();
}

}  // namespace

int main(int argc, char** argv) {
  const int largest = argc > 1 ? std::atoi(argv[1]) : 1'000'000;
  std::printf("kind        nodes  stage        time/node   memory/node\n");
  std::fflush(stdout);
  for (const Kind& kind : kKinds)
    for (int nodes = 1000; nodes <= largest; nodes *= 10) {
      if (argc > 2 && std::string_view(argv[2]) != kind.name) continue;
      const pid_t child = fork();
      if (child == 0) {
        measure(kind, nodes);
        std::fflush(stdout);
        _exit(0);
      }
      int status = 0;
      waitpid(child, &status, 0);
      if (status != 0) return 1;
    }
  return 0;
}

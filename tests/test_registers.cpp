#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "device/cpu/cpu_device.h"
#include "device/cpu/elementwise/loops.h"
#include "device/cpu/isa/isa.h"
#include "device/device.h"
#include "device/shared/elementwise_ops.h"
#include "noise.h"
#include "op_rows.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif

/// No kernel leaves the upper halves of the vector registers in use: on some processors what
/// runs next would take many times as long. The processor itself says which parts are in use.
namespace gradgraph::tests {
namespace {

#ifdef __x86_64__
bool tells_parts_in_use() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(0xD, 1, &a, &b, &c, &d) != 0 && (a >> 2 & 1) != 0;
}
/// The upper halves of registers 0 to 15, to 256 bits and to 512.
bool upper_halves_in_use() {
  constexpr std::uint32_t kTo256 = 1 << 2, kTo512 = 1 << 6;
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
  return (low & (kTo256 | kTo512)) != 0;
}
/// Whatever ran before.
[[gnu::always_inline]] inline void clear_upper_halves() { asm volatile("vzeroupper"); }
[[gnu::always_inline]] inline void use_upper_halves() {
  asm volatile("vcmpps $15, %%ymm1, %%ymm1, %%ymm1" ::: "xmm1");
}
#else
bool tells_parts_in_use() { return false; }
bool upper_halves_in_use() { return false; }
void clear_upper_halves() {}
void use_upper_halves() {}
#endif

/// The CPU, which notes the kernels after which upper halves are in use.
class WatchedDevice final : public Device {
 public:
  using Device::Device;
  static inline std::set<std::string> guilty;
  static inline std::set<std::string> launched;

  struct Watched final : HostStream {
    using HostStream::HostStream;
    void launch(const Launch& launch) override {
      clear_upper_halves();
      execute(launch, launch.args);
      if (upper_halves_in_use()) guilty.insert(launch.node->op().name);
      launched.insert(launch.node->op().name);
    }
  };

  bool host_memory() const override { return true; }
  void* allocate(std::size_t bytes) override { return cpu_->allocate(bytes); }
  void deallocate(void* memory) noexcept override { cpu_->deallocate(memory); }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<Watched>(*this); }
  std::unique_ptr<Event> make_event() override { return make_host_event(); }
  void synchronize(Event&) override {}

 private:
  std::shared_ptr<Device> cpu_ = open_cpu_device("cpu");
};

void add_watched_device() {
  static const bool added = [] {
    kernel_registry().share("watched", "cpu");
    device_registry().add(
        "watched", [](const std::string& name) { return std::make_shared<WatchedDevice>(name); },
        {"watched:0"});
    return true;
  }();
  static_cast<void>(added);
}

void run_watched(Graph& graph, const Feeds& feeds, const std::vector<Output>& fetches,
                 bool fuses = true, bool reference = false) {
  SessionOptions options{
      .device = "watched:0", .seed = 3, .threads = 1, .reference_kernels = reference};
  if (!fuses)
    options.disabled_passes = {"fuse_elementwise", "merge_elementwise", "fuse_epilogue",
                               "fuse_reductions",  "lower_bias_add",    "eliminate_moves"};
  Session session(graph, options);
  session.run(feeds, fetches);
}

/// Rows of the table are small: what they have less than a vector of, `run_networks` has.
void run_rows() {
  for (const OpRow& row : op_rows()) {
    if (row.inputs.empty()) continue;  // makes a graph of its own
    Graph graph;
    Feeds feeds;
    std::vector<Output> inputs;
    for (const Tensor& value : row.inputs) {
      inputs.push_back(placeholder(graph, value.dtype(), value.shape()));
      feeds.emplace_back(inputs.back(), value);
    }
    const std::vector<Output> fetches = row.build(inputs);
    run_watched(graph, feeds, fetches);
    run_watched(graph, feeds, fetches, false, true);
  }
}

/// Elementwise ops and reductions, alone and fused, of whole blocks of any level's threaded code
/// and of some more: what is left over is computed by other code, which may tidy up.
void run_elementwise(DType dtype, std::int64_t columns) {
  Graph graph;
  const Shape shape = {64, columns};
  const Output x = placeholder(graph, dtype, shape), y = placeholder(graph, dtype, {columns});
  const Feeds feeds = {{x, noise(shape, 1, dtype)}, {y, noise({columns}, 2, dtype)}};
  std::vector<Output> fetches = {x * x + x, tanh(x * 1.5) + y, maximum(x, y) - exp(y)};
  for (const OpDef* op : op_registry().all()) {
    if (!op->traits.elementwise) continue;
    Attributes parameters;
    for (const std::string_view name : parameters_of(op->name)) parameters.set(name, 0.5);
    for (const std::vector<Output>& operands :
         std::vector<std::vector<Output>>{{x}, {x, y}, {x, y, y}, {less(x, y), x, y}}) {
      try {
        fetches.push_back(
            graph.add(*op, operands, parameters, SourceLocation::current()).output());
      } catch (const BuildError&) {
        continue;  // takes other operands
      }
    }
  }
  fetches.push_back(custom_gradient(
      {x}, [](const auto& in) { return in; },
      [](const auto&, const auto&, const auto& grads) { return grads; })[0]);
  const std::vector<Output> halves = split(x, {columns / 2, columns - columns / 2}, 1);
  const Output half = square(tanh(halves[0]) - halves[0]);
  fetches.push_back(softmax(concat({half, half * 0.5}, 1)));
  fetches.push_back(sum(square(x - y), {1}));
  fetches.push_back(mean(square(x - y), {0}));
  fetches.push_back(sum(relu(x) * y));
  for (const bool fuses : {true, false}) run_watched(graph, feeds, fetches, fuses);
}

/// A step of training: products, convolutions, pools, dropout, normalisation, cross entropy, with
/// their gradients, epilogues and updates.
void run_network(Padding padding, std::int64_t channels, const Clipping& clip) {
  Graph graph;
  const Output images = placeholder(graph, float32, {8, 20, 21, 3});
  const Output labels = placeholder(graph, int64, {8});
  nn::Conv2dOptions options = {
      .filters = channels, .kernel = 5, .activation = relu, .padding = padding};
  Output x = nn::max_pool2d(nn::conv2d(images, options, "conv1"));
  options.filters = channels + 9;
  options.kernel = 3;
  x = nn::max_pool2d(nn::conv2d(x, options, "conv2"));
  options.activation = tanh;
  options.padding = Padding::same;
  x = nn::layer_norm(flatten(nn::conv2d(x, options, "conv3")), 1e-5, "norm");
  x = nn::dense(x, {.units = 128, .activation = relu}, "hidden1");
  x = nn::dense(x, {.units = 70, .activation = relu}, "hidden2");
  x = nn::dropout(x, 0.3, constant(graph, Tensor(true)));
  const Output steps = variable(constant(graph, Tensor(1.f)));
  const Output loss =
      mean(sparse_softmax_cross_entropy(nn::dense(x, {.units = 10}, "logits"), labels));
  const Output train = Adam{.clip = clip}.minimize(loss);
  const Feeds feeds = {{images, noise({8, 20, 21, 3}, 1, float32)},
                       {labels, Tensor{0, 1, 2, 3, 4, 5, 6, 7}.cast(int64)}};
  for (const bool fuses : {true, false})
    run_watched(graph, feeds, {train, loss, assign_sub(steps, 1.f)}, fuses);
}

void run_attention(std::int64_t depth) {
  Graph graph;
  const Shape shape = {2, 70, depth};
  const Output q = placeholder(graph, float32, shape), k = placeholder(graph, float32, shape);
  const Output v = placeholder(graph, float32, shape),
               seen = placeholder(graph, boolean, {70, 70});
  const Output scores = where(seen, matmul(q, k, {.transpose_b = true}), -1.0);
  const Feeds feeds = {{q, noise(shape, 1, float32)},
                       {k, noise(shape, 2, float32)},
                       {v, noise(shape, 3, float32)},
                       {seen, noise({70, 70}, 4).cast(boolean)}};
  const Output y = matmul(softmax(scores), v);
  std::vector<Output> fetches = gradients({y}, {q, k, v});
  fetches.push_back(y);
  run_watched(graph, feeds, fetches);
}

void run_random(DType dtype) {
  Graph graph;
  const std::vector<Output> fetches = {
      random_uniform(graph, {500}, dtype), random_normal(graph, {501}, dtype),
      truncated_normal(graph, {502}, dtype), range(graph, {100003}, dtype)};  // too long to fold
  run_watched(graph, {}, fetches);
}

}  // namespace

TEST_CASE("no kernel leaves upper halves of vector registers in use, at any level") {
  if (!tells_parts_in_use()) {
    MESSAGE("skipped: this processor does not tell which parts of its registers are in use");
    return;
  }
  add_watched_device();
  use_upper_halves();
  const bool seen = upper_halves_in_use();
  clear_upper_halves();
  REQUIRE(seen);
  REQUIRE_FALSE(upper_halves_in_use());
  for (const Isa level : usable_levels()) {
    CAPTURE(static_cast<int>(level));
    const IsaScope scope(level);
    WatchedDevice::guilty.clear();
    WatchedDevice::launched.clear();
    run_rows();
    for (const DType dtype : {float32, float64}) {
      for (const std::int64_t columns : {128, 131}) run_elementwise(dtype, columns);
      run_random(dtype);
    }
    for (const std::int64_t depth : {16, 5}) run_attention(depth);
    for (const Padding padding : {Padding::same, Padding::valid})
      for (const std::int64_t channels : {3, 24, 40})
        for (const Clipping& clip : {Clipping{}, Clipping{.by_global_norm = 1}})
          run_network(padding, channels, clip);
    for (const std::string& op : WatchedDevice::guilty) FAIL_CHECK(op << " leaves them in use");
    for (const OpDef* op : op_registry().all()) {
      const bool others = op->traits.internal && !op->traits.fused;  // other tests' ops
      if (kernel_registry().has(op->name, "watched", float32) && !op->traits.alias &&
          !op->traits.shape_only && !others && !WatchedDevice::launched.contains(op->name))
        FAIL_CHECK(op->name << " was not tried");
    }
  }
}

TEST_CASE("a level of the instruction set has a name") {
  CHECK(isa_named("", Isa::avx2) == Isa::avx2);
  CHECK(isa_named("baseline", Isa::avx512) == Isa::baseline);
  CHECK(isa_named("avx2", Isa::avx2) == Isa::avx2);
  CHECK_THROWS_WITH_AS(
      isa_named("avx512", Isa::avx2),
      "GRADGRAPH_ISA is avx512, but this build has avx2 at most on this processor", Error);
  for (const char* wrong : {"AVX2", "avx", "avx2 ", "sse2"})
    CHECK_THROWS_WITH_AS(isa_named(wrong, Isa::avx512),
                         doctest::Contains("none of baseline, avx2"), Error);
}

}  // namespace gradgraph::tests

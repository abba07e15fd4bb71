/// Products of matrices in a session on a GPU, beside cuBLAS with nothing around it: a line of
/// JSON each, with the medians of GPU time by events.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "device/cuda/cublas.h"
#include "device/cuda/status.h"
#include "gradgraph/gradgraph.h"

namespace {

namespace gg = gradgraph;
using gg::cuda::CublasOperation;

struct Case {
  const char* name;
  int rows, inner, columns;
  bool transpose_a = false, transpose_b = false;
};
constexpr std::array kCases = {
    Case{"square 1024", 1024, 1024, 1024},
    Case{"square 4096", 4096, 4096, 4096},
    Case{"mlp layer 1", 128, 784, 512},
    Case{"mlp layer 2", 128, 512, 512},
    Case{"mlp layer 1, its kernel's gradient", 784, 128, 512, true, false},
    Case{"mlp layer 2, its input's gradient", 128, 512, 512, false, true},
    Case{"mlp layer 1, batch 1000", 1000, 784, 512},
    Case{"mlp layer 1, its kernel's gradient, batch 1000", 784, 1000, 512, true, false},
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Seconds of the product's node.
class Ours {
 public:
  Ours(const Case& c, const std::string& device)
      : product_(gg::matmul(matrix(c.rows, c.inner, c.transpose_a),
                            matrix(c.inner, c.columns, c.transpose_b),
                            {.transpose_a = c.transpose_a, .transpose_b = c.transpose_b})),
        session_(graph_, {.device = device, .node_times = true}),
        step_(session_.prepare({}, {gg::max(product_)})) {}

  double run() {
    step_();
    for (const gg::NodeTime& node : session_.last_run().nodes)
      if (node.planned->op().name == "matmul") return node.seconds;
    throw gg::RunError("the plan has no product");
  }

 private:
  gg::Output matrix(int rows, int columns, bool transposes) {
    const gg::Shape shape = transposes ? gg::Shape{columns, rows} : gg::Shape{rows, columns};
    return gg::variable(graph_, gg::Tensor::full(gg::float32, shape, 0.5));
  }

  gg::Graph graph_;
  gg::Output product_;
  gg::Session session_;
  gg::Callable step_;
};

/// Seconds of one call of cublasSgemm.
class Raw {
 public:
  explicit Raw(const Case& c) : case_(c) {
    check(cudaSetDevice(0));
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    for (cudaEvent_t& event : events_) check(cudaEventCreate(&event));
    fill(a_, c.rows, c.inner);
    fill(b_, c.inner, c.columns);
    fill(c_, c.rows, c.columns);
    gg::cuda::check_cublas(gg::cuda::cublas().cublasCreate_v2(&handle_), "starting cuBLAS");
    gg::cuda::check_cublas(gg::cuda::cublas().cublasSetStream_v2(handle_, stream_), "a stream");
    multiply_ = reinterpret_cast<Multiply>(gg::cuda::cublas_function("cublasSgemm_v2"));
    if (!multiply_) throw gg::RunError("cuBLAS has no cublasSgemm_v2");
  }
  ~Raw() {
    gg::cuda::cublas().cublasDestroy_v2(handle_);
    for (float* memory : {a_, b_, c_}) cudaFree(memory);
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;

  double run() {
    const float one = 1, zero = 0;
    const auto operation = [](bool transposes) {
      return transposes ? CublasOperation::transpose : CublasOperation::none;
    };
    const Case& c = case_;
    check(cudaEventRecord(events_[0], stream_));
    // It counts columns first, so it is asked for the transposed product.
    gg::cuda::check_cublas(
        multiply_(handle_, operation(c.transpose_b), operation(c.transpose_a), c.columns, c.rows,
                  c.inner, &one, b_, c.transpose_b ? c.inner : c.columns, a_,
                  c.transpose_a ? c.rows : c.inner, &zero, c_, c.columns),
        "multiplying matrices");
    check(cudaEventRecord(events_[1], stream_));
    check(cudaStreamSynchronize(stream_));
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, events_[0], events_[1]));
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  using Multiply = gg::cuda::cublasStatus (*)(cublasHandle_t, CublasOperation, CublasOperation,
                                              int, int, int, const float*, const float*, int,
                                              const float*, int, const float*, float*, int);

  static void check(cudaError_t status) { gg::cuda::check(status, "cuda:0", "calling cuBLAS"); }
  static void fill(float*& memory, int rows, int columns) {
    const std::vector<float> values(
        static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns), 0.5F);
    const std::size_t bytes = values.size() * sizeof(float);
    check(cudaMalloc(reinterpret_cast<void**>(&memory), bytes));
    check(cudaMemcpy(memory, values.data(), bytes, cudaMemcpyHostToDevice));
  }

  Case case_;
  cudaStream_t stream_ = nullptr;
  std::array<cudaEvent_t, 2> events_{};
  float *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
  cublasHandle_t handle_ = nullptr;
  Multiply multiply_ = nullptr;
};

void measure(const Case& c, int runs) {
  Ours ours(c, "cuda:0");
  Raw raw(c);
  std::vector<double> our_seconds, raw_seconds;
  for (int i = -5; i < runs; ++i) {
    const double our = ours.run(), other = raw.run();
    if (i < 0) continue;  // warms up
    our_seconds.push_back(our);
    raw_seconds.push_back(other);
  }
  const double our = median(our_seconds) * 1e6, other = median(raw_seconds) * 1e6;
  std::printf(
      "{\"product\": \"%s\", \"rows\": %d, \"inner\": %d, \"columns\": %d, "
      "\"microseconds\": %.2f, \"cublas_microseconds\": %.2f, \"share\": %.3f}\n",
      c.name, c.rows, c.inner, c.columns, our, other, other / our);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int runs = 30;
  CLI::App app("Compares products of matrices in a session on a GPU with cuBLAS alone.");
  app.add_option("--runs", runs, "Times of each")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    for (const Case& c : kCases) measure(c, runs);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gradgraph/op.h"
#include "graph/kernel_dtype.h"

namespace gradgraph {

/// What a kernel throws when it meets a value that it must refuse; the caller adds op, node and
/// line and makes it a RunError.
struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The same for all kernels of one run.
struct RunInfo {
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  void* stream = nullptr;  ///< the device's own handle of the stream, where it has one
};

/// What a kernel gets for a call: addresses only. Shapes, attributes and static inputs are known
/// when the kernel is made; static inputs arrive as null.
struct KernelArgs {
  std::span<const void* const> inputs;
  std::span<void* const> outputs;
  void* workspace = nullptr;
  const RunInfo* run = nullptr;

  template <class T>
  const T* input(std::size_t i) const {
    return static_cast<const T*>(inputs[i]);
  }
  template <class T>
  T* output(std::size_t i = 0) const {
    return static_cast<T*>(outputs[i]);
  }
};

/// A kernel for one node: everything that can be computed ahead is already inside `run`, which
/// must not allocate. An empty one says that whoever was asked to make it declines the node.
struct Kernel {
  std::function<void(const KernelArgs&)> run;
  std::size_t workspace_bytes = 0;

  explicit operator bool() const { return static_cast<bool>(run); }
};

/// The node that a kernel is made for. All shapes are known.
class KernelSite {
 public:
  explicit KernelSite(const Node& node, int threads = 1, bool in_float32 = false)
      : node_(node), threads_(threads), in_float32_(in_float32) {}

  const Node& node() const { return node_; }
  int num_inputs() const { return node_.num_inputs(); }
  const Shape& input_shape(int i) const { return node_.input(i).shape(); }
  const Shape& output_shape(int i = 0) const { return node_.shape(i); }
  DType input_dtype(int i) const { return seen_as(node_.input(i).dtype()); }
  DType output_dtype(int i = 0) const { return seen_as(node_.dtype(i)); }
  /// Which kernels there are is asked by this one.
  DType kernel_dtype() const { return seen_as(gradgraph::kernel_dtype(node_)); }
  /// The same node with values of float32 in place of float16 and bfloat16.
  KernelSite in_float32() const { return KernelSite(node_, threads_, true); }
  /// The value of static int64 vector input i.
  std::vector<std::int64_t> static_vector(int i) const;
  template <class T>
  const T& attribute(std::string_view name) const {
    return node_.attributes().get<T>(name);
  }
  /// Threads that the kernel may use.
  int threads() const { return threads_; }

 private:
  DType seen_as(DType dtype) const { return in_float32_ && is_half(dtype) ? float32 : dtype; }

  const Node& node_;
  int threads_;
  bool in_float32_;
};

/// Which kernels exist: (op, kind of device, dtype) -> how to make one. A missing kernel is a
/// missing entry. Several may be there for one key: the first that was added is the reference,
/// which takes every node; each later one is faster, and may decline nodes.
class KernelRegistry {
 public:
  /// Returns an empty Kernel where it declines the node; the reference never does.
  using Make = std::function<Kernel(const KernelSite&)>;

  void add(std::string_view op, std::string_view device_kind, std::initializer_list<DType> dtypes,
           Make make);
  bool has(std::string_view op, std::string_view device_kind, DType dtype) const {
    return kernels_.contains(key(op, device_kind, dtype));
  }
  /// A kernel for the site's node from the last added that takes it, or from the reference;
  /// empty when there is none.
  Kernel make(const KernelSite& site, std::string_view device_kind, bool reference = false) const;
  /// Gives devices of `kind` the kernels that `other` has, but for the ops in `except` (tests).
  void share(std::string_view kind, std::string_view other,
             const std::vector<std::string>& except = {});

 private:
  static std::string key(std::string_view op, std::string_view device_kind, DType dtype);
  std::unordered_map<std::string, std::vector<Make>> kernels_;
};

/// Process-wide; holds all kernels of this build from the start.
KernelRegistry& kernel_registry();

/// Whether "fused" kernels can compute this elementwise node as part of a program.
bool can_fuse(const Node& node);

/// Calls `body.template operator()<T>()` with the C++ type of `dtype` where it is one of T...;
/// throws KernelError otherwise.
template <class... T, class Body>
auto dispatch(DType dtype, Body&& body) {
  using Result = std::common_type_t<decltype(body.template operator()<T>())...>;
  if constexpr (std::is_void_v<Result>) {
    if (!((dtype == dtype_of<T> ? (body.template operator()<T>(), true) : false) || ...))
      throw KernelError("no kernel for " + std::string(name(dtype)));
  } else {
    std::optional<Result> result;
    if (!((dtype == dtype_of<T> ? (result.emplace(body.template operator()<T>()), true)
                                : false) ||
          ...))
      throw KernelError("no kernel for " + std::string(name(dtype)));
    return std::move(*result);
  }
}

}  // namespace gradgraph

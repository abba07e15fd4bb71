#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
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

class Device;
class Stream;

/// The same for all kernels of one run.
struct RunInfo {
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  /// What a node draws differs in each iteration of the loops around it; 0 outside of any.
  std::uint64_t iteration = 0;
};

/// What a kernel gets for a call: addresses only. Shapes, attributes and static inputs are known
/// when the kernel is made; static inputs arrive as null.
struct KernelArgs {
  std::span<const void* const> inputs;
  std::span<void* const> outputs;
  void* workspace = nullptr;
  /// In memory of the kernel's device, so that a step which is captured and replayed draws the
  /// next step's numbers: only what runs there may read it.
  const RunInfo* run = nullptr;
  /// What the kernel was issued to: its native handle, libraries' handles and the like are what
  /// its device's own kind of stream has. Null outside a session.
  Stream* stream = nullptr;

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
  explicit KernelSite(const Node& node, int threads = 1, const Device* device = nullptr,
                      std::span<const Kernel> subgraphs = {})
      : node_(node), threads_(threads), device_(device), subgraphs_(subgraphs) {}

  const Node& node() const { return node_; }
  int num_inputs() const { return node_.num_inputs(); }
  const Shape& input_shape(int i) const { return node_.input(i).shape(); }
  const Shape& output_shape(int i = 0) const { return node_.shape(i); }
  DType input_dtype(int i) const { return seen_as(node_.input(i).dtype()); }
  DType output_dtype(int i = 0) const { return seen_as(node_.dtype(i)); }
  /// Which kernels there are is asked by this one.
  DType kernel_dtype() const { return seen_as(gradgraph::kernel_dtype(node_)); }
  /// The same node with values of float32 in place of float16 and bfloat16.
  KernelSite in_float32() const {
    KernelSite site(*this);
    site.in_float32_ = true;
    return site;
  }
  /// The value of static int64 vector input i.
  std::vector<std::int64_t> static_vector(int i) const;
  template <class T>
  const T& attribute(std::string_view name) const {
    return node_.attributes().get<T>(name);
  }
  /// The same node in a session whose products may round what they multiply.
  KernelSite rounding() const {
    KernelSite site(*this);
    site.rounds_ = true;
    return site;
  }
  /// Whether what is multiplied may be rounded to 11 significant bits (Precision::tf32), or has
  /// no more.
  bool may_round() const { return rounds_ || in_float32_; }
  /// Threads that the kernel may use.
  int threads() const { return threads_; }
  /// The device that the kernel is made for; null outside a session.
  const Device* device() const { return device_; }
  /// What runs each of the node's subgraphs (Traits::runs_subgraphs), given its parameters and
  /// its results' memory. It may throw RunError, which names what failed inside.
  std::span<const Kernel> subgraphs() const { return subgraphs_; }

 private:
  DType seen_as(DType dtype) const { return in_float32_ && is_half(dtype) ? float32 : dtype; }

  const Node& node_;
  int threads_;
  const Device* device_;
  std::span<const Kernel> subgraphs_;
  bool in_float32_ = false, rounds_ = false;
};

/// Which kernels exist: (op, kind of device, dtype) -> how to make one. A missing kernel is a
/// missing entry.
class KernelRegistry {
 public:
  using Make = std::function<Kernel(const KernelSite&)>;

  /// The reference: takes every node. Throws BuildError where there is one already.
  void add(std::string_view op, std::string_view device_kind, std::initializer_list<DType> dtypes,
           Make make);
  /// A kernel that is faster, or all there is, and may decline nodes by an empty Kernel. Of
  /// several the last added is asked first.
  void add_faster(std::string_view op, std::string_view device_kind,
                  std::initializer_list<DType> dtypes, Make make);
  bool has(std::string_view op, std::string_view device_kind, DType dtype) const {
    return kernels_.contains(key(op, device_kind, dtype));
  }
  /// Whether a device of this kind has a kernel that takes the node. Where there is no reference,
  /// and all shapes are known, those who make its kernels are asked.
  bool supports(const Node& node, std::string_view device_kind) const;
  /// A kernel for the site's node: the fastest that takes it, or the reference. Asked for a
  /// reference where there is none, the fastest again. Empty when nobody takes it.
  Kernel make(const KernelSite& site, std::string_view device_kind, bool reference = false) const;

  /// What passes need to know of a kind of device beside its kernels.
  struct Preferences {
    /// Which elementwise nodes the programs of its "fused" kernels can hold; null for none.
    bool (*can_fuse)(const Node&) = nullptr;
    /// Its convolutions and pools are better at NHWC images.
    bool nhwc = false;
    /// Queries of a head from which attention as one kernel pays.
    std::int64_t fewest_queries = 1;
    /// Its kernels of attention find heads inside of rows, too.
    bool heads_inside = false;
    /// Elements of the largest variables whose updates are quicker as one node.
    std::int64_t most_merged = std::numeric_limits<std::int64_t>::max();
  };
  void prefer(std::string_view device_kind, Preferences preferences);
  Preferences preferences(std::string_view device_kind) const;

  /// Gives devices of `kind` the kernels that `other` has, but for the ops in `except`, and those
  /// that run subgraphs (tests).
  void share(std::string_view kind, std::string_view other,
             const std::vector<std::string>& except = {});

 private:
  struct Entry {
    Make reference;            ///< may be empty
    std::vector<Make> faster;  ///< the fastest last
  };
  static std::string key(std::string_view op, std::string_view device_kind, DType dtype);
  std::unordered_map<std::string, Entry> kernels_;
  std::unordered_map<std::string, Preferences> preferences_;
};

/// Process-wide; holds all kernels of this build from the start.
KernelRegistry& kernel_registry();

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

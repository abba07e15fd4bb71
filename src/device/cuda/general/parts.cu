#include <algorithm>
#include <limits>
#include <vector>

#include "device/cuda/fast_divisor.h"
#include "device/cuda/issue.h"
#include "device/cuda/kernels.h"
#include "device/cuda/quads.h"
#include "device/shared/elements.h"

/// What is put together or taken apart along an axis, all parts in one launch.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

constexpr int kThreads = 256, kMostParts = 32;

/// A row of the whole is a piece of each part, one behind the other. Counts are of the words that
/// are copied.
struct Parts {
  void* address[kMostParts] = {};
  int begin[kMostParts + 1] = {};  ///< of each part in a row
  int number = 0;
  int count = 0;  ///< of all rows
  FastDivisor row;
};

template <class T, bool kSplits>
__global__ void __launch_bounds__(kThreads)
    copy_parts(T* whole, const __grid_constant__ Parts parts) {
  for (int i = static_cast<int>(thread_number()); i < parts.count;
       i += static_cast<int>(num_threads())) {
    const auto [row, column] = parts.row(i);
    int part = 0;
    while (column >= parts.begin[part + 1]) ++part;
    const int size = parts.begin[part + 1] - parts.begin[part];
    T* const own = static_cast<T*>(parts.address[part]) + row * size + column - parts.begin[part];
    if constexpr (kSplits)
      *own = whole[i];
    else
      whole[i] = *own;
  }
}

template <class T, bool kSplits>
Kernel make_for(const Parts& given, std::size_t word) {
  Parts parts = given;
  const int words = static_cast<int>(sizeof(T) / word);
  for (int i = 0; i <= parts.number; ++i) parts.begin[i] /= words;
  parts.count /= words;
  parts.row = FastDivisor(parts.begin[parts.number]);
  return {[parts](const KernelArgs& args) {
    Parts own = parts;
    for (int i = 0; i < own.number; ++i) {
      const auto part = static_cast<std::size_t>(i);
      own.address[i] = kSplits ? args.outputs[part] : const_cast<void*>(args.inputs[part]);
    }
    void* const whole = kSplits ? const_cast<void*>(args.inputs[0]) : args.outputs[0];
    issue(args, copy_parts<T, kSplits>, blocks_for(own.count, kThreads), kThreads, 0,
          static_cast<T*>(whole), own);
  }};
}

/// A single part, and very many, are left to copies of each.
template <bool kSplits>
Kernel make(const KernelSite& site) {
  const Shape& whole = kSplits ? site.input_shape(0) : site.output_shape();
  const int64_t number = kSplits ? site.node().num_outputs() : site.num_inputs();
  const DType dtype = kSplits ? site.input_dtype(0) : site.output_dtype();
  const auto axis = static_cast<int>(site.attribute<int64_t>("axis"));
  if (number < 2 || number > kMostParts || whole.num_elements() == 0 ||
      whole.num_elements() > std::numeric_limits<int>::max() / 2)
    return {};
  Parts parts;
  parts.number = static_cast<int>(number);
  parts.count = static_cast<int>(whole.num_elements());
  std::size_t aligned = 16;
  const std::size_t word = size_of(dtype);
  for (int i = 0; i < parts.number; ++i) {
    const Shape& part = kSplits ? site.node().shape(i) : site.input_shape(i);
    int64_t piece = 1;
    for (int a = axis; a < part.rank(); ++a) piece *= part[a];
    parts.begin[i + 1] = parts.begin[i] + static_cast<int>(piece);
    while (static_cast<std::size_t>(piece) * word % aligned != 0) aligned /= 2;
  }
  if (aligned == 16) return make_for<Quad<std::uint32_t>, kSplits>(parts, word);
  if (word == 8) return make_for<std::uint64_t, kSplits>(parts, word);
  if (aligned >= 4) return make_for<std::uint32_t, kSplits>(parts, word);
  if (word == 2) return make_for<std::uint16_t, kSplits>(parts, word);
  return make_for<std::uint8_t, kSplits>(parts, word);
}

}  // namespace

void register_parts_kernels(KernelRegistry& registry) {
  registry.add_faster("split", kCuda, kAllDTypes, make<true>);
  registry.add_faster("concat", kCuda, kAllDTypes, make<false>);
}

}  // namespace gradgraph::cuda

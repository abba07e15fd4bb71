#include <cstring>

#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"

/// What is put together or taken apart along an inner axis, by rows of the whole: so a thread has
/// the rows of all parts that those before and after it have, and the whole goes by once.
namespace gradgraph {
namespace {

/// Shorter pieces are better copied element by element, a part at a time.
constexpr std::size_t kShortestPiece = 64;

/// A row of the whole is a piece of each part, one behind the other.
struct Rows {
  std::int64_t count = 1, elements = 0;
  std::size_t bytes = 0;
  std::vector<std::size_t> pieces;  ///< bytes, by part
  bool are_long = true;
  int threads;

  Rows(const KernelSite& site, DType dtype, std::span<const Shape* const> parts)
      : threads(site.threads()) {
    const int axis = static_cast<int>(site.attribute<std::int64_t>("axis"));
    for (int i = 0; i < axis; ++i) count *= (*parts[0])[i];
    for (const Shape* part : parts) {
      std::int64_t piece = 1;
      for (int i = axis; i < part->rank(); ++i) piece *= (*part)[i];
      elements += piece;
      pieces.push_back(static_cast<std::size_t>(piece) * size_of(dtype));
      bytes += pieces.back();
      are_long = are_long && pieces.back() >= kShortestPiece;
    }
  }
  /// With few of them threads would have unequal shares.
  bool are_worth_it() const { return are_long && count >= kChunksPerThread * threads; }

  /// Calls copy(part, its byte, that of the whole, bytes) for each piece.
  template <class CopyPiece>
  void for_pieces(const CopyPiece& copy) const {
    parallel_for(count, grain_of(elements), threads, [&](std::int64_t begin, std::int64_t end) {
      for (auto row = static_cast<std::size_t>(begin); row < static_cast<std::size_t>(end);
           ++row) {
        std::size_t at = row * bytes;
        for (std::size_t part = 0; part < pieces.size(); ++part) {
          copy(part, row * pieces[part], at, pieces[part]);
          at += pieces[part];
        }
      }
    });
  }
};

Kernel make_concat(const KernelSite& site) {
  std::vector<const Shape*> parts;
  for (int i = 0; i < site.num_inputs(); ++i) parts.push_back(&site.input_shape(i));
  const Rows rows(site, site.output_dtype(), parts);
  if (!rows.are_worth_it()) return {};
  return {[rows](const KernelArgs& args) {
    auto* const whole = static_cast<std::byte*>(args.outputs[0]);
    rows.for_pieces([&](std::size_t part, std::size_t from, std::size_t to, std::size_t bytes) {
      std::memcpy(whole + to, static_cast<const std::byte*>(args.inputs[part]) + from, bytes);
    });
  }};
}

Kernel make_split(const KernelSite& site) {
  std::vector<const Shape*> parts;
  for (int i = 0; i < site.node().num_outputs(); ++i) parts.push_back(&site.output_shape(i));
  const Rows rows(site, site.input_dtype(0), parts);
  if (!rows.are_worth_it()) return {};
  return {[rows](const KernelArgs& args) {
    const auto* const whole = static_cast<const std::byte*>(args.inputs[0]);
    rows.for_pieces([&](std::size_t part, std::size_t to, std::size_t from, std::size_t bytes) {
      std::memcpy(static_cast<std::byte*>(args.outputs[part]) + to, whole + from, bytes);
    });
  }};
}

}  // namespace

void register_part_kernels(KernelRegistry& registry) {
  registry.add_faster("concat", kCpu, kAllDTypes, make_concat);
  registry.add_faster("split", kCpu, kAllDTypes, make_split);
}

}  // namespace gradgraph

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "device/cuda/elementwise/float_code.h"
#include "device/cuda/implicit_gemm.h"
#include "device/cuda/kernels.h"
#include "graph/program.h"

/// Products of matrices, and of those that go through a few steps before they leave a tile. Large
/// ones are left to cuBLAS, and longer programs, also those that update variables, to a generated
/// kernel: an interpreter of any program takes longer here, for its code alone.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

/// What is multiplied at most: beyond it cuBLAS gains more than a launch costs.
constexpr double kMostProducts = 1 << 27;
constexpr int kEnoughTiles = 100, kFewTiles = 64;
constexpr std::int64_t kDeep = 1024;
template <class T, bool kRounds>
using SmallTile = Tile<T, 4, 4, 4, 64, 8, 3, kRounds>;

/// Where there are few of those, halves of them: more blocks, of which each has all of a short
/// depth on its way at once.
template <class T>
using TinyTile = Tile<T, 4, 4, 4, 128, 4, 3>;

// --- What follows a product -------------------------------------------------------------------

/// Steps of few instructions, the commonest first.
using LightFloat =
    functors::List<functors::Add, functors::Relu, functors::ReluGrad, functors::Mul,
                   functors::Sub, functors::Maximum, functors::Minimum, functors::Neg,
                   functors::Square, functors::Abs>;
/// Of what is stored as S.
template <class S>
using Light =
    std::conditional_t<sizeof(S) == 2,
                       decltype(codes::join(functors::List<RoundTo<S>>{}, LightFloat{})),
                       LightFloat>;

template <class... F>
constexpr std::array<std::string_view, sizeof...(F)> names_of(functors::List<F...>) {
  return {F::op...};
}
/// The place in Light<S> of a FloatStep's code.
template <class S>
std::optional<int> light_code(int code) {
  static constexpr auto all = names_of(codes::Generated{});
  static constexpr auto light = names_of(Light<S>{});
  if (code >= static_cast<int>(all.size())) return std::nullopt;
  const auto found = std::ranges::find(light, all[static_cast<std::size_t>(code)]);
  if (found == light.end()) return std::nullopt;
  return static_cast<int>(found - light.begin());
}

template <class F>
__device__ void calculate(const float (&a)[4], const float (&b)[4], float (&result)[4]) {
  GRADGRAPH_UNROLL
  for (int i = 0; i < 4; ++i)
    if constexpr (functors::kOperands<F, float> == 1)
      result[i] = F{}(a[i]);
    else
      result[i] = F{}(a[i], b[i]);
}
template <class... F>
__device__ void calculate(functors::List<F...>, int code, const float (&a)[4],
                          const float (&b)[4], float (&result)[4]) {
  int place = 0;
  static_cast<void>(((place++ == code && (calculate<F>(a, b, result), true)) || ...));
}

/// Of what the step before made, at first the product, and of at most one more value.
struct ChainStep {
  const void* input = nullptr;
  std::int32_t row_step = 0, column_step = 0;  ///< to the input's element of the next row, column
  std::int16_t number = -1;                    ///< of the input in the node's program; -1: none
  std::uint8_t code = 0;                       ///< place in Light
  bool is_first = false;                       ///< the input is the left operand
};

struct Chain {
  static constexpr int kMost = 4;
  ChainStep steps[kMost];
  std::int32_t num_steps = 0;
};

/// The program as a chain, if it is one, of values that are stored as S; the product is its first
/// input.
template <class S>
std::optional<Chain> chain_of(const FloatCode& code, int columns) {
  constexpr Stored kStored = dtype_of<S> == float32   ? Stored::float32
                             : dtype_of<S> == float16 ? Stored::float16
                                                      : Stored::bfloat16;
  if (code.num_steps > Chain::kMost || code.num_constants > 0 || code.writing[0] != 0 ||
      code.outputs_stored[0] != kStored)
    return std::nullopt;
  Chain chain;
  for (int i = 0; i < code.num_steps; ++i) {
    const FloatStep& from = code.steps[i];
    ChainStep& step = chain.steps[chain.num_steps++];
    const std::optional<int> light = light_code<S>(from.code);
    const bool is_last = i + 1 == code.num_steps;
    if (!light || from.result != kNowhere || (from.output == 0) != is_last) return std::nullopt;
    step.code = static_cast<std::uint8_t>(*light);
    for (int operand = 0; operand < 2; ++operand) {
      const std::uint8_t place = from.operands[operand];
      // The second of a step that has only one is this too.
      if (place == kLast) continue;
      const int input = place >= kUniform ? code.uniforms[place - kUniform] : code.loads[place];
      if (input == 0 && i == 0) continue;
      if (input == 0 || step.number >= 0 || code.inputs_stored[input] != kStored)
        return std::nullopt;
      const int view = code.reading[input];
      step.number = static_cast<std::int16_t>(input);
      step.is_first = operand == 0;
      if (view == kOwnIndex) {
        step.row_step = columns;
        step.column_step = 1;
      } else if (view >= 0) {
        step.row_step = code.strides[view][1];
        step.column_step = code.strides[view][0];
      }
    }
  }
  return chain;
}

/// How a matrix is looked up: four elements along the depth, or across it, or one by one.
enum class Lookup { deep, flat, single };

/// Of matrices that are stored as S.
template <class S, Lookup kA, Lookup kB>
struct Product {
  static constexpr int kWidthA = kA == Lookup::single ? 1 : 4;
  static constexpr int kWidthB = kB == Lookup::single ? 1 : 4;
  static constexpr bool kDeepA = kA == Lookup::deep, kDeepB = kB == Lookup::deep;
  using PieceA = Piece<float, kWidthA>;
  using PieceB = Piece<float, kWidthB>;
  struct Shared {};

  Chain chain;
  const S *x = nullptr, *y = nullptr;
  S* c = nullptr;
  int rows, columns, inner;
  int row_step, row_depth, column_step, column_depth;  ///< to the next row, column and product
  int groups = 1, parts = 1, part_depth;

  __device__ bool is_stopped(Shared&) const { return false; }
  __device__ int depth(int, int, Shared&) const { return inner; }
  __device__ int row(int, int row) const { return row; }
  __device__ void a(int row, int k, const Shared&, PieceA& piece) const {
    if (row < rows) load(x + (row * row_step + k * row_depth), piece.values);
  }
  __device__ void b(int, int k, int column, const Shared&, PieceB& piece) const {
    load(y + (column * column_step + k * column_depth), piece.values);
  }
  __device__ void store(int, int, int row, int column, const float (&sums)[4], Shared&) const {
    const int count = min(4, rows - row);
    float others[Chain::kMost][4] = {};
    GRADGRAPH_UNROLL
    for (int i = 0; i < Chain::kMost; ++i)
      if (i < chain.num_steps && chain.steps[i].input) {
        const ChainStep& step = chain.steps[i];
        GRADGRAPH_UNROLL
        for (int j = 0; j < 4; ++j)
          if (j < count)
            others[i][j] = static_cast<float>(static_cast<const S*>(
                step.input)[(row + j) * step.row_step + column * step.column_step]);
      }
    float last[4] = {sums[0], sums[1], sums[2], sums[3]};
    GRADGRAPH_UNROLL
    for (int i = 0; i < Chain::kMost; ++i)
      if (i < chain.num_steps) {
        const ChainStep& step = chain.steps[i];
        const bool has_first = step.input && step.is_first;
        const bool has_second = step.input && !step.is_first;
        float a[4], b[4];
        GRADGRAPH_UNROLL
        for (int j = 0; j < 4; ++j) {
          a[j] = has_first ? others[i][j] : last[j];
          b[j] = has_second ? others[i][j] : last[j];
        }
        calculate(Light<S>{}, step.code, a, b, last);
      }
    GRADGRAPH_UNROLL
    for (int j = 0; j < 4; ++j)
      if (j < count) c[(row + j) * columns + column] = static_cast<S>(last[j]);
  }
};

/// Of the node, whose first two inputs are multiplied.
struct Given {
  bool transpose_a, transpose_b;
  int64_t columns, rows, inner;

  explicit Given(const KernelSite& site)
      : transpose_a(site.attribute<bool>("transpose_a")),
        transpose_b(site.attribute<bool>("transpose_b")),
        columns(last_of(site.output_shape())),
        rows(site.output_shape().num_elements() / columns),
        inner(transpose_a ? site.input_shape(0)[0] : last_of(site.input_shape(0))) {}

  bool is_small() const {
    constexpr int64_t kMost = std::numeric_limits<std::int32_t>::max() / 4;
    return rows * columns > 0 && inner > 0 && rows <= kMost / std::max(inner, columns) &&
           columns <= kMost / inner &&
           static_cast<double>(rows) * static_cast<double>(columns) *
                   static_cast<double>(inner) <=
               kMostProducts;
  }
  /// So few tiles of so many products each that cuBLAS, which shares out the depth, is faster.
  bool is_deep() const {
    using Smallest = SmallTile<float, false>;
    const int tiles = tiles_of<Smallest>(static_cast<int>(rows), static_cast<int>(columns));
    return inner >= kDeep && tiles < 2 * kEnoughTiles * (inner / kDeep);
  }
  bool has_quads() const { return lookup_a() != Lookup::single && lookup_b() != Lookup::single; }
  Lookup lookup_a() const { return lookup(transpose_a ? rows : inner, !transpose_a); }
  Lookup lookup_b() const { return lookup(transpose_b ? inner : columns, transpose_b); }

 private:
  static int64_t last_of(const Shape& shape) { return shape[shape.rank() - 1]; }
  static Lookup lookup(int64_t line, bool is_deep) {
    return line % 4 != 0 ? Lookup::single : is_deep ? Lookup::deep : Lookup::flat;
  }
};

template <class S, class Tile, Lookup kA, Lookup kB>
Kernel make_for(const Given& given, const Chain& chain) {
  Product<S, kA, kB> product;
  product.chain = chain;
  product.rows = static_cast<int>(given.rows);
  product.columns = static_cast<int>(given.columns);
  product.inner = product.part_depth = static_cast<int>(given.inner);
  product.row_step = given.transpose_a ? 1 : product.inner;
  product.row_depth = given.transpose_a ? product.rows : 1;
  product.column_step = given.transpose_b ? product.inner : 1;
  product.column_depth = given.transpose_b ? 1 : product.columns;
  return {[product](const KernelArgs& args) {
    auto own = product;
    // The product, which has no address, is the program's first input.
    for (int i = 0; i < own.chain.num_steps; ++i)
      if (ChainStep& step = own.chain.steps[i]; step.number > 0)
        step.input = args.inputs[static_cast<std::size_t>(step.number) + 1];
    own.x = args.input<S>(0);
    own.y = args.input<S>(1);
    own.c = args.output<S>();
    issue_gemm<Tile>(args, own);
  }};
}

/// Of 16 bits, or for tensor cores, only what is looked up four by four.
template <class S, class Tile>
Kernel make_for(const Given& given, const Chain& chain) {
  const auto with_b = [&]<Lookup kA>() -> Kernel {
    switch (given.lookup_b()) {
      case Lookup::deep: return make_for<S, Tile, kA, Lookup::deep>(given, chain);
      case Lookup::flat: return make_for<S, Tile, kA, Lookup::flat>(given, chain);
      default:
        if constexpr (Tile::kRounds)
          return {};
        else
          return make_for<S, Tile, kA, Lookup::single>(given, chain);
    }
  };
  switch (given.lookup_a()) {
    case Lookup::deep: return with_b.template operator()<Lookup::deep>();
    case Lookup::flat: return with_b.template operator()<Lookup::flat>();
    default:
      if constexpr (Tile::kRounds)
        return {};
      else
        return with_b.template operator()<Lookup::single>();
  }
}

/// Large tiles do more with what they load; many small ones give all of a GPU work.
template <class S, bool kRounds>
Kernel make_for(const Given& given, const Chain& chain) {
  using Large = Tile<float, 4, 8, 4, 64, 8, 2, kRounds>;
  const int tiles =
      tiles_of<Large>(static_cast<int>(given.rows), static_cast<int>(given.columns));
  if (tiles >= kEnoughTiles) return make_for<S, Large>(given, chain);
  using Small = SmallTile<float, kRounds>;
  if constexpr (!kRounds)
    if (tiles_of<Small>(static_cast<int>(given.rows), static_cast<int>(given.columns)) <=
        kFewTiles)
      return make_for<S, TinyTile<float>>(given, chain);
  return make_for<S, Small>(given, chain);
}

template <class S, bool kRounds>
Kernel make_chained(const Given& given, const FloatCode& code) {
  const auto chain = chain_of<S>(code, static_cast<int>(given.columns));
  return chain ? make_for<S, kRounds>(given, *chain) : Kernel{};
}

Kernel make_with_program(const KernelSite& site) {
  const Given given(site);
  if (!given.is_small() || given.is_deep()) return {};
  // The program's inputs, of which the product is the first.
  std::vector<Shape> shapes = {site.output_shape()};
  for (int i = 2; i < site.num_inputs(); ++i) shapes.push_back(site.input_shape(i));
  const auto code = encode_floats(program_of(site.node()), shapes);
  if (!code || site.node().num_outputs() > 1) return {};
  switch (site.input_dtype(0)) {
    case float16: return make_chained<Half, true>(given, *code);
    case bfloat16: return make_chained<BFloat16, true>(given, *code);
    default:
      return site.may_round() && given.has_quads() ? make_chained<float, true>(given, *code)
                                                   : make_chained<float, false>(given, *code);
  }
}

/// A product alone, where measured to be faster than cuBLAS: of few results, since there the
/// depth is shared out among threads, and neither so shallow that there is nothing to share out
/// nor so deep that more blocks should have shared it.
Kernel make_alone(const KernelSite& site) {
  constexpr int64_t kMostResults = 1 << 16, kLeastDepth = 32, kMostDepth = 512;
  if (site.output_shape().num_elements() == 0) return {};
  const Given given(site);
  if (site.input_shape(1).rank() != 2 || (given.transpose_a && site.input_shape(0).rank() != 2) ||
      !given.is_small() || site.may_round() || given.rows * given.columns > kMostResults ||
      given.inner < kLeastDepth || given.inner > kMostDepth)
    return {};
  return make_for<float, false>(given, Chain{});
}

}  // namespace

void register_small_product_kernels(KernelRegistry& registry) {
  registry.add_faster("matmul", kCuda, {float32}, make_alone);
  registry.add_faster("matmul_with_epilogue", kCuda, {float32, float16, bfloat16},
                      make_with_program);
}

}  // namespace gradgraph::cuda

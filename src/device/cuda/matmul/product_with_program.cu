#include <algorithm>
#include <limits>
#include <vector>

#include "device/cuda/elementwise/float_interpreter.h"
#include "device/cuda/implicit_gemm.h"
#include "device/cuda/kernels.h"
#include "graph/program.h"

/// Products of matrices that go through an elementwise program before they leave a tile. Large
/// ones are left to cuBLAS, and to a kernel for the program; so is what updates variables: its
/// steps would be interpreted for each element, which takes longer than a generated kernel.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

/// What is multiplied at most: beyond it cuBLAS gains more than a launch costs.
constexpr double kMostProducts = 1 << 27;
/// Of the 48 KiB of shared memory that every device gives a block without being asked; the rest
/// is for what its threads have in common.
constexpr std::size_t kMostScratch = std::size_t{47} << 10;

constexpr int kEnoughTiles = 100, kFewTiles = 64;
constexpr std::int64_t kDeep = 1024;
template <class T, bool kRounds>
using SmallTile = Tile<T, 4, 4, 4, 64, 8, 3, kRounds>;

/// Where there are few of those, halves of them: more blocks, of which each has all of a short
/// depth on its way at once.
template <class T>
using TinyTile = Tile<T, 4, 4, 4, 128, 4, 3>;

/// How a matrix is looked up: four elements along the depth, or across it, or one by one.
enum class Lookup { deep, flat, single };

/// Of matrices that are stored as S.
template <class S, Lookup kA, Lookup kB>
struct Product {
  static constexpr int kWidthA = kA == Lookup::single ? 1 : 4;
  static constexpr int kWidthB = kB == Lookup::single ? 1 : 4;
  static constexpr bool kDeepA = kA == Lookup::deep, kDeepB = kB == Lookup::deep;
  static constexpr bool kHasScratch = true;
  using PieceA = Piece<float, kWidthA>;
  using PieceB = Piece<float, kWidthB>;
  struct Shared {
    float uniforms[kMaxFloatUniforms];
  };
  static_assert(sizeof(Shared) <= 1024);

  FloatCode code;
  const S *x = nullptr, *y = nullptr;
  int rows, columns, inner;
  int row_step, row_depth, column_step, column_depth;  ///< to the next row, column and product
  int groups = 1, parts = 1, part_depth;
  int scratch_pitch;

  __device__ bool is_stopped(Shared& common) const {
    return bring_uniforms<sizeof(S) == 2>(code, common.uniforms, nullptr);
  }
  __device__ int depth(int, int, Shared&) const { return inner; }
  __device__ int row(int, int row) const { return row; }
  __device__ void a(int row, int k, const Shared&, PieceA& piece) const {
    if (row < rows) load(x + (row * row_step + k * row_depth), piece.values);
  }
  __device__ void b(int, int k, int column, const Shared&, PieceB& piece) const {
    load(y + (column * column_step + k * column_depth), piece.values);
  }
  __device__ void store(int, int, int row, int column, const float (&sums)[4], Shared& common,
                        float* scratch) const {
    auto* const registers = reinterpret_cast<Quad<float>*>(scratch) + threadIdx.x;
    registers[code.given * scratch_pitch] = {sums[0], sums[1], sums[2], sums[3]};
    run_steps<sizeof(S) == 2, false>(code, registers, scratch_pitch, common.uniforms,
                                     Column{row, column, columns, std::min(4, rows - row)});
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

/// The program's inputs, of which the product is the first.
std::vector<Shape> program_shapes(const KernelSite& site) {
  std::vector<Shape> shapes = {site.output_shape()};
  for (int i = 2; i < site.num_inputs(); ++i) shapes.push_back(site.input_shape(i));
  return shapes;
}

template <class S, class Tile, Lookup kA, Lookup kB>
Kernel make_for(const Given& given, const FloatCode& code) {
  Product<S, kA, kB> product;
  product.code = code;
  product.rows = static_cast<int>(given.rows);
  product.columns = static_cast<int>(given.columns);
  product.inner = product.part_depth = static_cast<int>(given.inner);
  product.row_step = given.transpose_a ? 1 : product.inner;
  product.row_depth = given.transpose_a ? product.rows : 1;
  product.column_step = given.transpose_b ? product.inner : 1;
  product.column_depth = given.transpose_b ? 1 : product.columns;
  product.scratch_pitch = Tile::kQuads;
  const std::size_t scratch =
      static_cast<std::size_t>(code.num_registers) * Tile::kQuads * sizeof(Quad<float>);
  if (scratch > kMostScratch) return {};
  return {[product, scratch](const KernelArgs& args) {
    auto own = product;
    // The product has no address.
    const void* inputs[kMaxInputs] = {};
    std::copy(args.inputs.begin() + 2, args.inputs.end(), inputs + 1);
    bind(own.code, {inputs, args.inputs.size() - 1}, args.outputs);
    own.x = args.input<S>(0);
    own.y = args.input<S>(1);
    issue_gemm<Tile>(args, own, scratch);
  }};
}

/// Of 16 bits, or for tensor cores, only what is looked up four by four.
template <class S, class Tile>
Kernel make_for(const Given& given, const FloatCode& code) {
  const auto with_b = [&]<Lookup kA>() -> Kernel {
    switch (given.lookup_b()) {
      case Lookup::deep: return make_for<S, Tile, kA, Lookup::deep>(given, code);
      case Lookup::flat: return make_for<S, Tile, kA, Lookup::flat>(given, code);
      default:
        if constexpr (Tile::kRounds)
          return {};
        else
          return make_for<S, Tile, kA, Lookup::single>(given, code);
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
Kernel make_for(const Given& given, const FloatCode& code) {
  using Large = Tile<float, 4, 8, 4, 64, 8, 2, kRounds>;
  const int tiles =
      tiles_of<Large>(static_cast<int>(given.rows), static_cast<int>(given.columns));
  if (tiles >= kEnoughTiles) return make_for<S, Large>(given, code);
  using Small = SmallTile<float, kRounds>;
  if constexpr (!kRounds)
    if (tiles_of<Small>(static_cast<int>(given.rows), static_cast<int>(given.columns)) <=
        kFewTiles)
      return make_for<S, TinyTile<float>>(given, code);
  return make_for<S, Small>(given, code);
}

Kernel make(const KernelSite& site) {
  const Given given(site);
  if (!given.is_small() || given.is_deep()) return {};
  const auto code = encode_floats(program_of(site.node()), program_shapes(site), 0);
  if (!code || code->has_functions || !code->is_interpreted) return {};
  switch (site.input_dtype(0)) {
    case float16: return make_for<Half, true>(given, *code);
    case bfloat16: return make_for<BFloat16, true>(given, *code);
    default:
      if (code->has_halves) return {};
      return site.may_round() && given.has_quads() ? make_for<float, true>(given, *code)
                                                   : make_for<float, false>(given, *code);
  }
}

}  // namespace

void register_product_with_program_kernels(KernelRegistry& registry) {
  registry.add_faster("matmul_with_epilogue", kCuda, {float32, float16, bfloat16}, make);
}

}  // namespace gradgraph::cuda

#include <algorithm>
#include <limits>
#include <vector>

#include "device/cuda/elementwise/float_interpreter.h"
#include "device/cuda/implicit_gemm.h"
#include "device/cuda/kernels.h"
#include "graph/program.h"

/// Products of matrices that go through an elementwise program, or update variables by one,
/// before they leave a tile. Large ones are left to cuBLAS, and to a kernel for the program.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

/// What is multiplied at most: beyond it cuBLAS gains more than a launch costs.
constexpr double kMostProducts = 1 << 27;
/// Of the 48 KiB of shared memory that every device gives a block without being asked; the rest
/// is for what its threads have in common.
constexpr std::size_t kMostScratch = std::size_t{47} << 10;

constexpr int kEnoughTiles = 100;
constexpr std::int64_t kDeep = 1024;
/// A step takes as much time for each element of a variable, however few products it is for:
/// less deep ones take longer so than a product and a generated kernel for the update.
constexpr std::int64_t kLeastOfUpdate = 512;
template <class T, bool kRounds>
using SmallTile = Tile<T, 4, 4, 4, 64, 8, 3, kRounds>;

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
  const unsigned long long* stopper = nullptr;
  const S *x = nullptr, *y = nullptr;
  int rows, columns, inner;
  int row_step, row_depth, column_step, column_depth;  ///< to the next row, column and product
  int groups = 1, parts = 1, part_depth;
  int scratch_pitch;

  __device__ bool is_stopped(Shared& common) const {
    return bring_uniforms<sizeof(S) == 2>(code, common.uniforms, stopper);
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

/// Of the node: the sizes, and which of its inputs is the first that is multiplied.
struct Given {
  std::size_t first;
  bool transpose_a, transpose_b;
  int64_t columns, rows, inner;

  explicit Given(const KernelSite& site)
      : first(site.node().op().traits.updates_variable
                  ? static_cast<std::size_t>(site.node().num_outputs())
                  : 0),
        transpose_a(site.attribute<bool>("transpose_a")),
        transpose_b(site.attribute<bool>("transpose_b")),
        columns(last_of(site.output_shape())),
        rows(site.output_shape().num_elements() / columns),
        inner(transpose_a ? site.input_shape(static_cast<int>(first))[0]
                          : last_of(site.input_shape(static_cast<int>(first)))) {}

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

/// The program's inputs, of which the product stands for two of the node's.
std::vector<Shape> program_shapes(const KernelSite& site, std::size_t product) {
  std::vector<Shape> shapes;
  for (int i = 0; i < site.num_inputs(); ++i)
    if (static_cast<std::size_t>(i) == product)
      shapes.push_back(site.output_shape());
    else if (static_cast<std::size_t>(i) != product + 1)
      shapes.push_back(site.input_shape(i));
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
  return {[product, scratch, first = given.first](const KernelArgs& args) {
    auto own = product;
    // The product has no address.
    const void* inputs[kMaxInputs] = {};
    const auto rest = args.inputs.subspan(first + 2);
    std::copy_n(args.inputs.begin(), first, inputs);
    std::copy(rest.begin(), rest.end(), inputs + first + 1);
    bind(own.code, {inputs, first + 1 + rest.size()}, args.outputs);
    own.stopper = stream_of(args).stopper();
    own.x = args.input<S>(first);
    own.y = args.input<S>(first + 1);
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
  return tiles >= kEnoughTiles ? make_for<S, Large>(given, code)
                               : make_for<S, SmallTile<float, kRounds>>(given, code);
}

Kernel make(const KernelSite& site) {
  const Given given(site);
  const bool updates = given.first > 0;
  if (!given.is_small() || given.is_deep() || (updates && given.inner < kLeastOfUpdate))
    return {};
  const auto code = encode_floats(program_of(site.node()), program_shapes(site, given.first),
                                  static_cast<int>(given.first));
  if (!code || code->has_functions || !code->is_interpreted) return {};
  switch (site.input_dtype(static_cast<int>(given.first))) {
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
  // Passes ask by the product's dtype, also for an update, whose own is its variable's.
  for (const std::string_view op : {"matmul_with_epilogue", "matmul_with_update"})
    registry.add_faster(op, kCuda, {float32, float16, bfloat16}, make);
}

}  // namespace gradgraph::cuda

#include "device/cpu/matmul/panel_product.h"

#include <algorithm>

namespace gradgraph {
namespace {

/// Rows of b that a tile reads at once: a panel of them stays in the first-level cache.
constexpr std::int64_t kPanelRows = 256;

}  // namespace

void PanelProduct::run(const TileTable& tiles) const {
  const std::int64_t width = panel_columns(tiles);
  const std::int64_t blocks = (rows + tiles.max_rows - 1) / tiles.max_rows;
  const auto& of_layout = tiles.tile[transpose_a ? TileTable::columns : TileTable::rows][false];
  TileArgs args{};
  args.a_stride = a_stride;
  args.b_stride = b_stride;
  args.c_stride = c_stride;
  for (std::int64_t first = 0; first < inner; first += kPanelRows) {
    args.inner = std::min(kPanelRows, inner - first);
    args.add = adds || first > 0;
    for (std::int64_t j = 0; j < columns; j += width) {
      const std::int64_t vectors = (std::min(width, columns - j) + tiles.lanes - 1) / tiles.lanes;
      args.b = b + j / width * panel_stride + first * b_stride;
      args.ahead = args.ahead_end = args.b;
      for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = rows * block / blocks, end = rows * (block + 1) / blocks;
        args.a = a + (transpose_a ? first * a_stride + begin : begin * a_stride + first);
        args.c = c + begin * c_stride + j;
        of_layout[vectors - 1][end - begin - 1](args);
      }
    }
  }
}

}  // namespace gradgraph

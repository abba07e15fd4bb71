#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "device/cpu/matmul/gemm.h"
#include "kernel_helpers.h"

using namespace gradgraph;

namespace {

std::vector<float> numbers(std::int64_t count, std::uint32_t seed) {
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) {
    seed = seed * 1664525U + 1013904223U;
    value = static_cast<float>(seed >> 8U) * 0x1p-23F - 1;
  }
  return x;
}

struct Product {
  GemmShape shape;
  std::vector<float> a = numbers(shape.rows * shape.inner, 1);
  std::vector<float> b = numbers(shape.inner * shape.columns, 2);

  /// The product, out of a workspace and a result that held rubbish; or twice the product, made
  /// and added.
  std::vector<float> run(int threads, const TileTable& tiles, bool twice = false) const {
    const Gemm gemm(shape, threads, tiles);
    std::vector<float> workspace(gemm.workspace_bytes() / sizeof(float),
                                 std::numeric_limits<float>::quiet_NaN());
    std::vector<float> c(static_cast<std::size_t>(shape.rows * shape.columns) + 1, 7);
    gemm.run(a.data(), b.data(), c.data(), workspace.data());
    if (twice) gemm.run(a.data(), b.data(), c.data(), workspace.data(), true);
    CHECK(c.back() == 7);
    c.pop_back();
    return c;
  }

  double exact(std::int64_t i, std::int64_t j) const {
    double sum = 0;
    for (std::int64_t k = 0; k < shape.inner; ++k) {
      const std::int64_t at_a = shape.transpose_a ? k * shape.rows + i : i * shape.inner + k;
      const std::int64_t at_b = shape.transpose_b ? j * shape.inner + k : k * shape.columns + j;
      sum +=
          double{a[static_cast<std::size_t>(at_a)]} * double{b[static_cast<std::size_t>(at_b)]};
    }
    return sum;
  }

  /// The largest difference to the exact product; NaN where there is one.
  double error(const std::vector<float>& c) const {
    double largest = 0;
    for (std::int64_t i = 0; i < shape.rows; ++i)
      for (std::int64_t j = 0; j < shape.columns; ++j) {
        const auto at = static_cast<std::size_t>(i * shape.columns + j);
        const double difference = std::fabs(exact(i, j) - double{c[at]});
        if (!(difference <= largest)) largest = difference;
      }
    return largest;
  }
};

template <class Visit>
void for_each_table(const Visit& visit) {
  tests::for_each_isa([&] { visit(best_tiles()); });
}

template <class Visit>
void for_each_layout(std::int64_t rows, std::int64_t columns, std::int64_t inner,
                     const Visit& visit) {
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true}) {
      CAPTURE(rows);
      CAPTURE(columns);
      CAPTURE(inner);
      CAPTURE(transpose_a);
      CAPTURE(transpose_b);
      visit(Product{{rows, columns, inner, transpose_a, transpose_b}});
    }
}

}  // namespace

TEST_CASE("gemm: small products of all sizes, on every level of the instruction set") {
  for_each_table([](const TileTable& tiles) {
    for (const std::int64_t rows : {1, 5, 13, 14, 15, 29})
      for (const std::int64_t columns : {1, 7, 8, 16, 17, 31, 32, 33, 70})
        for (const std::int64_t inner : {1, 3, 16, 37})
          for_each_layout(rows, columns, inner, [&](const Product& product) {
            CHECK(product.error(product.run(1, tiles)) <= 1e-5);
            std::vector<float> twice = product.run(1, tiles, true);
            for (float& value : twice) value /= 2;
            CHECK(product.error(twice) <= 1e-5);
          });
  });
}

TEST_CASE("gemm: several panels, chunks and threads") {
  for_each_table([](const TileTable& tiles) {
    for_each_layout(300, 260, 515, [&](const Product& product) {
      const std::vector<float> alone = product.run(1, tiles);
      CHECK(product.error(alone) <= 1e-4);
      for (const int threads : {2, 3, 8}) {
        // How c is cut up changes no sum.
        const std::vector<float> c = product.run(threads, tiles);
        CHECK(std::memcmp(c.data(), alone.data(), c.size() * sizeof(float)) == 0);
      }
    });
    for_each_layout(1030, 129, 40, [&](const Product& product) {
      CHECK(product.error(product.run(4, tiles)) <= 1e-5);
    });
  });
}

TEST_CASE("gemm: products wide enough for a to be packed, of all heights") {
  for_each_table([](const TileTable& tiles) {
    for (const std::int64_t rows : {1, 2, 5, 6, 7, 13, 14, 15, 16, 17, 29, 71})
      for (const std::int64_t inner : {0, 1, 2, 3, 4, 5, 17, 259})
        for_each_layout(rows, 257, inner, [&](const Product& product) {
          CHECK(product.error(product.run(1, tiles)) <= 1e-4);
        });
  });
}

TEST_CASE("gemm: products wider than a chunk") {
  for_each_table([](const TileTable& tiles) {
    for (const std::int64_t rows : {1, 15, 90})
      for (const std::int64_t columns : {1023, 1025, 2048, 3001})
        for_each_layout(rows, columns, 19, [&](const Product& product) {
          const std::vector<float> alone = product.run(1, tiles);
          CHECK(product.error(alone) <= 1e-5);
          for (const int threads : {2, 5}) CHECK(product.run(threads, tiles) == alone);
        });
    // With more of b than stays in the cache chunks are higher.
    const Product tall{{200, 1100, 131}};
    CHECK(tall.error(tall.run(1, tiles)) <= 1e-4);
  });
}

TEST_CASE("gemm: empty matrices") {
  for_each_table([](const TileTable& tiles) {
    for_each_layout(3, 20, 0, [&](const Product& product) {
      CHECK(product.run(2, tiles) == std::vector<float>(60, 0.0F));
    });
    for_each_layout(0, 20, 4, [&](const Product& product) { product.run(2, tiles); });
    for_each_layout(3, 0, 4, [&](const Product& product) { product.run(2, tiles); });
  });
}

TEST_CASE("gemm: NaN and infinity reach what depends on them, and nothing else") {
  for_each_table([](const TileTable& tiles) {
    for_each_layout(20, 19, 8, [&](Product product) {
      const bool ta = product.shape.transpose_a, tb = product.shape.transpose_b;
      product.a[ta ? 3 * 20 + 17 : 17 * 8 + 3] = std::numeric_limits<float>::quiet_NaN();
      product.b[tb ? 18 * 8 + 5 : 5 * 19 + 18] = std::numeric_limits<float>::infinity();
      const std::vector<float> c = product.run(1, tiles);
      for (std::size_t i = 0; i < 20; ++i)
        for (std::size_t j = 0; j < 19; ++j) {
          const float value = c[i * 19 + j];
          CHECK(std::isnan(value) == (i == 17));
          CHECK(std::isinf(value) == (i != 17 && j == 18));
        }
    });
  });
}

TEST_CASE("gemm: chunks cover the result once") {
  for_each_table([](const TileTable& tiles) {
    const Product product{{515, 150, 20}};
    const Gemm gemm(product.shape, 3, tiles);
    std::vector<float> workspace(gemm.workspace_bytes() / sizeof(float));
    std::vector<float> c(515 * 150, -1000);
    gemm.run_chunks(product.a.data(), product.b.data(), workspace.data(),
                    [&](std::int64_t cell, const Gemm::Chunk& chunk) {
                      CHECK((cell >= 0 && cell < gemm.cells()));
                      for (std::int64_t i = 0; i < chunk.rows; ++i)
                        for (std::int64_t j = 0; j < chunk.columns; ++j) {
                          const auto at =
                              static_cast<std::size_t>((chunk.row + i) * 150 + chunk.column + j);
                          CHECK(c[at] == -1000);
                          c[at] = chunk.values[i * chunk.stride + j];
                        }
                    });
    CHECK(product.error(c) <= 1e-5);
  });
}

#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "device/cuda/issue.h"
#include "device/cuda/quads.h"

namespace gradgraph::cuda {

/// How a block makes a tile of a product: its threads are teams, each of which covers the tile,
/// with kOwnRows x kOwnColumns elements for a thread, and takes a part of each slice's depth.
template <class T_, int kOwnRows_, int kOwnColumns_, int kAcross_,
          int kDepth_ = 128 / static_cast<int>(sizeof(T_)), int kDown_ = 8, int kAhead_ = 1,
          bool kRounds_ = false>
struct Tile {
  using T = T_;
  static constexpr int kOwnRows = kOwnRows_, kOwnColumns = kOwnColumns_, kAcross = kAcross_;
  static constexpr int kThreads = 256, kDown = kDown_, kTeam = kDown * kAcross;
  static constexpr int kTeams = kThreads / kTeam;
  static constexpr int kRows = kDown * kOwnRows, kColumns = kAcross * kOwnColumns;
  static constexpr int kDepth = kDepth_;
  /// Slices that are on their way from memory while one is multiplied.
  static constexpr int kAhead = kAhead_;
  static constexpr int kTeamDepth = kDepth / kTeams;
  /// Tensor cores multiply what is rounded to 11 significant bits.
  static constexpr bool kRounds = kRounds_;
  /// Of a slice in shared memory: what lanes store at once goes to different banks; of what
  /// tensor cores multiply, what they load at once comes from different banks.
  static constexpr int pitch(int size) { return size + (kRounds ? 8 + size % 16 : 4); }
  static constexpr int kRowsPitch = pitch(kRows), kColumnsPitch = pitch(kColumns);
  static constexpr int kSlice = kDepth * (kRowsPitch + kColumnsPitch);
  /// Rows whose sums the teams add up at once, and quads of rows there are in them.
  static constexpr int kBand = 4 * kDown, kQuads = kDown * kColumns;
  template <int kWidth>
  __device__ static void round(T (&values)[kWidth]) {
    if constexpr (kRounds)
      for (T& value : values) value = round_to_tf32(value);
  }
  static constexpr std::size_t kSharedBytes =
      sizeof(T) * static_cast<std::size_t>(std::max(2 * kSlice, kTeams* kBand* kColumns));
};

/// Which elements of a slice [depth, size] a thread brings, `kWidth` at once: along the depth, or
/// along the size.
template <class Tile, int kSize, int kWidth, bool kDeep>
struct Share {
  static constexpr int kVectors = kSize * Tile::kDepth / kWidth;
  static constexpr int kCount = (kVectors + Tile::kThreads - 1) / Tile::kThreads;

  __device__ static int vector(int i) {
    return static_cast<int>(threadIdx.x) + i * Tile::kThreads;
  }
  __device__ static bool has(int i) {
    return kVectors % Tile::kThreads == 0 || vector(i) < kVectors;
  }
  /// Two lanes go along the depth, so that they load 32 bytes, 16 along the size.
  __device__ static int depth(int i) {
    const int v = vector(i);
    if constexpr (kWidth == 1) return v / kSize;
    if constexpr (kDeep) return (v % 2 + v / 2 / kSize * 2) * kWidth;
    return v / (kSize / kWidth);
  }
  __device__ static int at(int i) {
    const int v = vector(i);
    if constexpr (kWidth == 1) return v % kSize;
    if constexpr (kDeep) return v / 2 % kSize;
    return v % (kSize / kWidth) * kWidth;
  }
  template <class T>
  __device__ static void store(int i, const T (&values)[kWidth], T* slice, int pitch) {
    if (!has(i)) return;
    T* const to = slice + depth(i) * pitch + at(i);
    if constexpr (kWidth == 1) {
      *to = values[0];
    } else if constexpr (kDeep) {
      for (int j = 0; j < kWidth; ++j) to[j * pitch] = values[j];
    } else {
      *reinterpret_cast<Quad<T>*>(to) = {values[0], values[1], values[2], values[3]};
    }
  }
};

/// What is looked up at once, and what is left to do when it is there: while it is on its way
/// nobody may ask for it.
template <class T, int kWidth>
struct Piece {
  T values[kWidth];
  __device__ void finish() {}
};

/// A thread's sums: quads of rows, and columns, of each half of the tile's, and a rest.
template <class Tile>
struct ThreadSums {
  using T = typename Tile::T;
  T sums[Tile::kOwnRows][Tile::kOwnColumns] = {};

  __device__ static int down() {
    return static_cast<int>(threadIdx.x) % Tile::kTeam / Tile::kAcross;
  }
  __device__ static int across() { return static_cast<int>(threadIdx.x) % Tile::kAcross; }
  /// Adds what the team has of a slice.
  __device__ void multiply(const T* a, const T* b) {
    GRADGRAPH_UNROLL
    for (int k = 0; k < Tile::kTeamDepth; ++k) {
      T of_a[Tile::kOwnRows], of_b[Tile::kOwnColumns];
      GRADGRAPH_UNROLL
      for (int i = 0; i < Tile::kOwnRows; i += 4) {
        T quad[4];
        load(a + k * Tile::kRowsPitch + i * Tile::kDown + down() * 4, quad);
        for (int j = 0; j < 4; ++j) of_a[i + j] = quad[j];
      }
      const T* const line = b + k * Tile::kColumnsPitch;
      T quad[4];
      load(line + across() * 4, quad);
      for (int j = 0; j < 4; ++j) of_b[j] = quad[j];
      constexpr int kRest = Tile::kOwnColumns - 4;
      GRADGRAPH_UNROLL
      for (int j = 0; j < kRest; ++j)
        of_b[4 + j] = line[4 * Tile::kAcross + across() * kRest + j];
      GRADGRAPH_UNROLL
      for (int i = 0; i < Tile::kOwnRows; ++i) {
        GRADGRAPH_UNROLL
        for (int j = 0; j < Tile::kOwnColumns; ++j)
          sums[i][j] = std::fma(of_a[i], of_b[j], sums[i][j]);
      }
    }
  }
  /// Writes those of a band of rows.
  __device__ void put(int band, T* lines) const {
    GRADGRAPH_UNROLL
    for (int i = 0; i < 4; ++i) {
      T* const line = lines + (down() * 4 + i) * Tile::kColumns;
      GRADGRAPH_UNROLL
      for (int j = 0; j < Tile::kOwnColumns; ++j)
        line[j < 4 ? across() * 4 + j
                   : 4 * Tile::kAcross + across() * (Tile::kOwnColumns - 4) + j - 4] =
            sums[band * 4 + i][j];
    }
  }
};

/// The same where a warp has some of the tile's rows, which tensor cores multiply.
template <class Tile>
struct WarpSums {
  static constexpr int kRows = Tile::kRows / (Tile::kTeam / kWarp);
  static constexpr int kDown = kRows / 16, kAcross = Tile::kColumns / 8;
  static_assert(Tile::kTeam % kWarp == 0 && kRows % 16 == 0 && Tile::kColumns % 8 == 0 &&
                Tile::kTeamDepth % 8 == 0);
  float sums[kDown][kAcross][4] = {};

  __device__ static int first_row() {
    return static_cast<int>(threadIdx.x) % Tile::kTeam / kWarp * kRows;
  }
  __device__ static int group() { return static_cast<int>(threadIdx.x) % kWarp / 4; }
  __device__ static int member() { return static_cast<int>(threadIdx.x) % 4; }
  __device__ void multiply(const float* a, const float* b) {
    GRADGRAPH_UNROLL
    for (int k = 0; k < Tile::kTeamDepth; k += 8) {
      const float* const from = a + (k + member()) * Tile::kRowsPitch + first_row() + group();
      const float* const line = b + (k + member()) * Tile::kColumnsPitch + group();
      float of_b[kAcross][2];
      GRADGRAPH_UNROLL
      for (int j = 0; j < kAcross; ++j) {
        of_b[j][0] = line[8 * j];
        of_b[j][1] = line[4 * Tile::kColumnsPitch + 8 * j];
      }
      GRADGRAPH_UNROLL
      for (int i = 0; i < kDown; ++i) {
        const float* const lower = from + 4 * Tile::kRowsPitch;
        const float of_a[4] = {from[16 * i], from[16 * i + 8], lower[16 * i], lower[16 * i + 8]};
        GRADGRAPH_UNROLL
        for (int j = 0; j < kAcross; ++j) add_product(sums[i][j], of_a, of_b[j]);
      }
    }
  }
  __device__ void put(int band, float* lines) const {
    GRADGRAPH_UNROLL
    for (int i = 0; i < kDown; ++i) {
      GRADGRAPH_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = first_row() + 16 * i + 8 * half + group() - band * Tile::kBand;
        if (row < 0 || row >= Tile::kBand) continue;
        float* const line = lines + row * Tile::kColumns + 2 * member();
        GRADGRAPH_UNROLL
        for (int j = 0; j < kAcross; ++j) {
          line[8 * j] = sums[i][j][2 * half];
          line[8 * j + 1] = sums[i][j][2 * half + 1];
        }
      }
    }
  }
};

/// c = a b, tile by tile, where a's and b's elements are looked up as a problem says: so a
/// convolution needs no copy of what its windows see. A problem has
///
///     kWidthA, kWidthB           elements that are looked up at once
///     PieceA, PieceB             as Piece above
///     kDeepA, kDeepB             along the depth, else along a's rows and b's columns
///     rows, columns, groups      how large c is, and how many products of their own there are
///     parts, part_depth          how the inner sum is cut; each part has a c of its own
///     Shared                     what a block's threads share, here called common
///     is_stopped(common)         whether there is nothing to do; a barrier may be in it
///     depth(first, last, common) the length of the sum for some rows
///     row(group, row)            what there is to know of a row
///     a(row, k, common, piece)   the values are 0 before, and stay so where nothing is seen
///     b(group, k, column, common, piece)
///     store(part, group, row, column, sums, common)    of four rows from `row` on
///
/// While a slice of the depth is multiplied the next ones are on their way.
template <class Tile, class Problem>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    implicit_gemm(const __grid_constant__ Problem problem) {
  using T = typename Tile::T;
  using ShareA = Share<Tile, Tile::kRows, Problem::kWidthA, Problem::kDeepA>;
  using ShareB = Share<Tile, Tile::kColumns, Problem::kWidthB, Problem::kDeepB>;
  __shared__ typename Problem::Shared common;
  T* const shared = dynamic_shared<T>();
  const int thread = static_cast<int>(threadIdx.x);
  const int team = thread / Tile::kTeam;

  const int tiles_across = (problem.columns + Tile::kColumns - 1) / Tile::kColumns;
  const int tiles = tiles_across * ((problem.rows + Tile::kRows - 1) / Tile::kRows);
  const std::int64_t tasks = static_cast<std::int64_t>(tiles) * problem.groups * problem.parts;
  for (std::int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int tile = static_cast<int>(task % tiles), other = static_cast<int>(task / tiles);
    const int group = other % problem.groups, part = other / problem.groups;
    const int row = tile / tiles_across * Tile::kRows;
    const int column = tile % tiles_across * Tile::kColumns;
    const auto own_row = problem.row(group, row + ShareA::at(0));
    const int depth = problem.depth(row, std::min(row + Tile::kRows, problem.rows) - 1, common);
    const int begin = part * problem.part_depth;
    const int end = std::min(depth - begin, problem.part_depth) + begin;

    constexpr int kAhead = Tile::kAhead;
    typename Problem::PieceA next_a[kAhead][ShareA::kCount];
    typename Problem::PieceB next_b[kAhead][ShareB::kCount];
    const auto look_up = [&](int set, int from) {
      GRADGRAPH_UNROLL
      for (int i = 0; i < ShareA::kCount; ++i) {
        next_a[set][i] = {};
        const int k = from + ShareA::depth(i);
        if (ShareA::has(i) && k < end) problem.a(own_row, k, common, next_a[set][i]);
      }
      GRADGRAPH_UNROLL
      for (int i = 0; i < ShareB::kCount; ++i) {
        next_b[set][i] = {};
        const int k = from + ShareB::depth(i), at = column + ShareB::at(i);
        if (ShareB::has(i) && k < end && at < problem.columns)
          problem.b(group, k, at, common, next_b[set][i]);
      }
    };
    const auto put = [&](int set, int slice) {
      T* const a = shared + slice * Tile::kSlice;
      T* const b = a + Tile::kDepth * Tile::kRowsPitch;
      GRADGRAPH_UNROLL
      for (int i = 0; i < ShareA::kCount; ++i) {
        next_a[set][i].finish();
        Tile::round(next_a[set][i].values);
        ShareA::store(i, next_a[set][i].values, a, Tile::kRowsPitch);
      }
      GRADGRAPH_UNROLL
      for (int i = 0; i < ShareB::kCount; ++i) {
        next_b[set][i].finish();
        Tile::round(next_b[set][i].values);
        ShareB::store(i, next_b[set][i].values, b, Tile::kColumnsPitch);
      }
    };

    std::conditional_t<Tile::kRounds, WarpSums<Tile>, ThreadSums<Tile>> sums;
    const auto multiply = [&](int slice) {
      const T* const a = shared + slice * Tile::kSlice;
      const T* const b = a + Tile::kDepth * Tile::kRowsPitch;
      sums.multiply(a + team * Tile::kTeamDepth * Tile::kRowsPitch,
                    b + team * Tile::kTeamDepth * Tile::kColumnsPitch);
    };

    GRADGRAPH_UNROLL
    for (int set = 0; set < kAhead; ++set) look_up(set, begin + set * Tile::kDepth);
    if (problem.is_stopped(common)) return;  // asked while the slices are on their way
    put(0, 0);
    __syncthreads();
    int slice = 0;
    for (int from = begin; from < end;) {
      GRADGRAPH_UNROLL
      for (int set = 0; set < kAhead; ++set) {
        if (from >= end) break;
        if (from + kAhead * Tile::kDepth < end) look_up(set, from + kAhead * Tile::kDepth);
        multiply(slice);
        slice ^= 1;
        from += Tile::kDepth;
        if (from < end) put((set + 1) % kAhead, slice);
        __syncthreads();
      }
    }

    // The teams' sums, in their order.
    GRADGRAPH_UNROLL
    for (int band = 0; band < Tile::kOwnRows / 4; ++band) {
      sums.put(band, shared + team * Tile::kBand * Tile::kColumns);
      __syncthreads();
      for (int begin_quad = 0; begin_quad < Tile::kQuads; begin_quad += Tile::kThreads) {
        const int quad = begin_quad + thread;
        const int first = quad / Tile::kColumns * 4, at = quad % Tile::kColumns;
        const int to = row + band * Tile::kBand + first;
        const bool is_there =
            quad < Tile::kQuads && to < problem.rows && column + at < problem.columns;
        if (!is_there) continue;
        T totals[4];
        GRADGRAPH_UNROLL
        for (int i = 0; i < 4; ++i) {
          const T* const own = shared + (first + i) * Tile::kColumns + at;
          totals[i] = own[0];
          GRADGRAPH_UNROLL
          for (int t = 1; t < Tile::kTeams; ++t)
            totals[i] += own[t * Tile::kBand * Tile::kColumns];
        }
        problem.store(part, group, to, column + at, totals, common);
      }
      __syncthreads();
    }
  }
}

/// How many blocks a GPU should have to work on at least.
inline constexpr int kGoodBlocks = 264;

template <class Tile>
int tiles_of(int rows, int columns) {
  return ((rows + Tile::kRows - 1) / Tile::kRows) *
         ((columns + Tile::kColumns - 1) / Tile::kColumns);
}

template <class Tile, class Problem>
void issue_gemm(const KernelArgs& args, const Problem& problem) {
  const std::int64_t tiles = tiles_of<Tile>(problem.rows, problem.columns);
  issue(args, implicit_gemm<Tile, Problem>, blocks_for(tiles * problem.groups * problem.parts, 1),
        Tile::kThreads, Tile::kSharedBytes, problem);
}

/// Sums of so few products that several teams would not be worth adding up.
inline constexpr int kShallow = 32;

/// Of two warps for each part of a slice's depth.
template <class T, int kOwnRows, int kOwnColumns>
using Rounding = Tile<T, kOwnRows, kOwnColumns, 8, 32, 8, 1, true>;

/// Calls body.operator()<Tile>() with a tile that wastes few columns; elements are stored as S.
/// Where columns are looked up in quads (kQuads), and what is multiplied may be rounded or has
/// 16 bits, it is one for tensor cores.
template <class S, int kOwnRows, int kWidth, bool kQuads, class Body>
void with_tile(int columns, int depth, bool may_round, const Body& body) {
  using T = Calculated<S>;
  const auto padded = [&](int size) { return (columns + size - 1) / size * size; };
  const bool has_48 = padded(48) <= std::min(padded(24), padded(32));
  const bool has_24 = padded(24) < padded(32);
  if constexpr (sizeof(S) > 4) {
    body.template operator()<Tile<T, 4, 4, 8>>();
  } else {
    if constexpr (kQuads) {
      if (sizeof(S) == 2 || may_round) {
        if constexpr (kWidth == 4) {
          if (has_48) return body.template operator()<Rounding<T, kOwnRows, 6>>();
        } else {
          if (has_24) return body.template operator()<Rounding<T, kOwnRows, 3>>();
        }
        return body.template operator()<Rounding<T, kOwnRows, 4>>();
      }
    }
    if constexpr (sizeof(S) == 4) {
      if constexpr (kWidth == 4) {
        if (has_48) return body.template operator()<Tile<T, kOwnRows, 6, 8>>();
      } else if (depth <= kShallow) {
        if (has_24) return body.template operator()<Tile<T, 4, 6, 4, 16, 64>>();
        return body.template operator()<Tile<T, 4, 8, 4, 16, 64>>();
      }
      if (has_24) return body.template operator()<Tile<T, kOwnRows, 6, 4>>();
      body.template operator()<Tile<T, kOwnRows, 8, 4>>();
    }
  }
}

}  // namespace gradgraph::cuda

// The order matters: xtensor-blas' LAPACK headers use macros of its BLAS headers.
#include <xtensor-blas/xblas.hpp>
//
#include <xtensor-blas/xlapack.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/text.h"
#include "device/cpu/kernels.h"
#include "device/cpu/matmul/blas.h"
#include "device/cpu/matmul/one_thread.h"
#include "device/cpu/reference/expressions.h"
#include "device/parallel.h"
#include "device/shared/elements.h"

/// Decompositions of batches of matrices by LAPACK, through xtensor-blas' own layer over it
/// (cxxlapack) with work space of ours: its functions for expressions (xt::linalg, and xt::lapack
/// where LAPACK wants work space) allocate in every call.
///
/// LAPACK keeps columns together, the library rows: what it sees is the transposed matrix.
namespace gradgraph {
namespace {

using std::int64_t;

int lapack_int(int64_t n) { return static_cast<int>(n); }

/// Matrices [rows, columns] in a batch.
struct Batch {
  int64_t count, rows, columns;

  explicit Batch(const Shape& shape)
      : count(extent(shape, 0, shape.rank() - 2)),
        rows(shape[shape.rank() - 2]),
        columns(shape[shape.rank() - 1]) {
    if (!fits_blas(rows, columns) || !fits_blas(4 * rows, 4 * columns))
      throw KernelError("a dimension is beyond the 32 bits of LAPACK");
  }
  int64_t size() const { return rows * columns; }
};

/// Calls body(matrix, work space) for every matrix of a batch, on several threads, each with
/// `bytes` of work space. Which of them failed is kept: the first one is refused afterwards.
template <class Body>
Kernel for_matrices(const KernelSite& site, const Batch& batch, std::size_t bytes,
                    const char* refusal, const Body& body) {
  constexpr std::size_t kAlignment = 64;
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const int64_t workers = workers_for(batch.count, site.threads());
  const std::size_t flags = static_cast<std::size_t>(workers) * bytes;
  const auto run = [=](const KernelArgs& args) {
    auto* memory = static_cast<std::byte*>(args.workspace);
    auto* failed = reinterpret_cast<int64_t*>(memory + flags);
    std::fill_n(failed, workers, batch.count);
    parallel_tasks(batch.count, workers, [&](int64_t i, int64_t worker) {
      [[maybe_unused]] const OneThread one_thread;
      std::byte* work = memory + static_cast<std::size_t>(worker) * bytes;
      if (!body(args, i, work)) failed[worker] = std::min(failed[worker], i);
    });
    const int64_t first = *std::min_element(failed, failed + workers);
    if (first < batch.count)
      throw KernelError(fmt::format("matrix {} of {} is {}", first, batch.count, refusal));
  };
  return {run, flags + static_cast<std::size_t>(workers) * sizeof(int64_t)};
}

/// Takes pieces of work space one after the other.
class Pieces {
 public:
  explicit Pieces(std::byte* memory) : memory_(memory) {}
  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(memory_ + used_);
    used_ += bytes_of<T>(count);
    return piece;
  }
  template <class T>
  static std::size_t bytes_of(int64_t count) {
    return (static_cast<std::size_t>(count) * sizeof(T) + 15) / 16 * 16;
  }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

/// The transposed of `from` [rows, columns], of which only `kept` columns are taken.
template <class T>
void transpose(const T* from, T* to, int64_t rows, int64_t columns, int64_t kept) {
  if (rows * kept == 0) return;
  auto y = strided<T, 2>(to, {kept, rows}, {rows, 1});
  xt::noalias(y) = strided<const T, 2>(from, {kept, rows}, {1, columns});
}
template <class T>
void transpose(const T* from, T* to, int64_t rows, int64_t columns) {
  transpose(from, to, rows, columns, columns);
}

template <class T>
bool is_finite(const T* x, int64_t count) {
  return std::all_of(x, x + count, [](T value) { return std::isfinite(value); });
}

template <class T>
void fill_nan(T* x, int64_t count) {
  std::fill_n(x, count, std::numeric_limits<T>::quiet_NaN());
}

/// The work space that LAPACK wants; `query` calls it with a size of -1 and a place for the
/// answer.
template <class T, class Query>
int64_t wanted(const Query& query) {
  T answer = 0;
  query(&answer);
  return static_cast<int64_t>(answer) + 1;
}

template <class T>
Kernel make_cholesky(const KernelSite& site) {
  const Batch batch(site.input_shape(0));
  return for_matrices(site, batch, 0, "not positive definite",
                      [batch](const KernelArgs& args, int64_t i, std::byte*) {
                        const int64_t n = batch.rows;
                        const T* x = args.input<T>(0) + i * n * n;
                        T* y = args.output<T>() + i * n * n;
                        for (int64_t row = 0; row < n; ++row)
                          for (int64_t column = 0; column < n; ++column)
                            y[row * n + column] = column <= row ? x[row * n + column] : T{0};
                        return n == 0 ||
                               cxxlapack::potrf<int>('U', lapack_int(n), y, lapack_int(n)) == 0;
                      });
}

template <class T>
Kernel make_inverse(const KernelSite& site) {
  const Batch batch(site.input_shape(0));
  const int n = lapack_int(batch.rows);
  const int64_t work_size = wanted<T>([n](T* answer) {
    T matrix = 0;
    int pivot = 0;
    if (n > 0) cxxlapack::getri<int>(n, &matrix, n, &pivot, answer, -1);
  });
  return for_matrices(site, batch, Pieces::bytes_of<int>(n) + Pieces::bytes_of<T>(work_size),
                      "singular", [=](const KernelArgs& args, int64_t i, std::byte* memory) {
                        if (n == 0) return true;
                        Pieces pieces(memory);
                        int* pivots = pieces.take<int>(n);
                        T* work = pieces.take<T>(work_size);
                        T* y = args.output<T>() + i * batch.size();
                        std::copy_n(args.input<T>(0) + i * batch.size(), batch.size(), y);
                        return cxxlapack::getrf<int>(n, n, y, n, pivots) == 0 &&
                               cxxlapack::getri<int>(n, y, n, pivots, work,
                                                     lapack_int(work_size)) == 0;
                      });
}

template <class T>
Kernel make_solve(const KernelSite& site) {
  const Batch a(site.input_shape(0)), b(site.input_shape(1));
  const int n = lapack_int(a.rows), columns = lapack_int(b.columns);
  const std::size_t bytes =
      Pieces::bytes_of<int>(n) + Pieces::bytes_of<T>(a.size()) + Pieces::bytes_of<T>(b.size());
  return for_matrices(site, a, bytes, "singular",
                      [=](const KernelArgs& args, int64_t i, std::byte* memory) {
                        if (n == 0) return true;
                        Pieces pieces(memory);
                        int* pivots = pieces.take<int>(n);
                        T* factors = pieces.take<T>(a.size());
                        T* x = pieces.take<T>(b.size());
                        std::copy_n(args.input<T>(0) + i * a.size(), a.size(), factors);
                        transpose(args.input<T>(1) + i * b.size(), x, b.rows, b.columns);
                        if (cxxlapack::getrf<int>(n, n, factors, n, pivots) != 0) return false;
                        // The factors are those of the transposed matrix.
                        if (columns > 0)
                          cxxlapack::getrs<int>('T', n, columns, factors, n, pivots, x, n);
                        transpose(x, args.output<T>() + i * b.size(), b.columns, b.rows);
                        return true;
                      });
}

/// Determinants, or their signs and the logarithms of their sizes.
template <class T>
Kernel make_determinant(const KernelSite& site, bool logarithm) {
  const Batch batch(site.input_shape(0));
  const int n = lapack_int(batch.rows);
  const std::size_t bytes = Pieces::bytes_of<int>(n) + Pieces::bytes_of<T>(batch.size());
  return for_matrices(site, batch, bytes, "",
                      [=](const KernelArgs& args, int64_t i, std::byte* memory) {
                        Pieces pieces(memory);
                        int* pivots = pieces.take<int>(n);
                        T* factors = pieces.take<T>(batch.size());
                        std::copy_n(args.input<T>(0) + i * batch.size(), batch.size(), factors);
                        if (n > 0) cxxlapack::getrf<int>(n, n, factors, n, pivots);
                        double product = 1, sign = 1, logarithm_sum = 0;
                        for (int k = 0; k < n; ++k) {
                          const auto pivot = static_cast<double>(factors[int64_t{k} * n + k]);
                          const double factor = pivots[k] != k + 1 ? -pivot : pivot;
                          product *= factor;
                          sign *= factor > 0 ? 1 : factor < 0 ? -1 : factor;
                          logarithm_sum += std::log(std::fabs(factor));
                        }
                        args.output<T>()[i] = static_cast<T>(logarithm ? sign : product);
                        if (logarithm) args.output<T>(1)[i] = static_cast<T>(logarithm_sum);
                        return true;
                      });
}

template <class T>
Kernel make_qr(const KernelSite& site) {
  const Batch batch(site.input_shape(0));
  const int rows = lapack_int(batch.rows), columns = lapack_int(batch.columns);
  const int k = std::min(rows, columns);
  const int64_t work_size = wanted<T>([=](T* answer) {
    T matrix = 0, tau = 0, other = 0;
    if (k == 0) return;
    cxxlapack::geqrf<int>(rows, columns, &matrix, rows, &tau, answer, -1);
    cxxlapack::orgqr<int>(rows, k, k, &matrix, rows, &tau, &other, -1);
    *answer = std::max(*answer, other);
  });
  const std::size_t bytes =
      Pieces::bytes_of<T>(batch.size()) + Pieces::bytes_of<T>(k) + Pieces::bytes_of<T>(work_size);
  return for_matrices(
      site, batch, bytes, "", [=](const KernelArgs& args, int64_t i, std::byte* memory) {
        if (k == 0) return true;
        Pieces pieces(memory);
        T* a = pieces.take<T>(batch.size());
        T* tau = pieces.take<T>(k);
        T* work = pieces.take<T>(work_size);
        transpose(args.input<T>(0) + i * batch.size(), a, rows, columns);
        cxxlapack::geqrf<int>(rows, columns, a, rows, tau, work, lapack_int(work_size));
        T* r = args.output<T>(1) + i * k * columns;
        transpose(a, r, columns, rows, k);
        for (int64_t row = 1; row < k; ++row) std::fill_n(r + row * columns, row, T{0});
        cxxlapack::orgqr<int>(rows, k, k, a, rows, tau, work, lapack_int(work_size));
        transpose(a, args.output<T>(0) + i * rows * k, k, rows);
        return true;
      });
}

template <class T>
Kernel make_eigh(const KernelSite& site) {
  const Batch batch(site.input_shape(0));
  const int n = lapack_int(batch.rows);
  int64_t integers = 1;
  const int64_t work_size = wanted<T>([&](T* answer) {
    T matrix = 0, value = 0;
    int wanted_integers = 1;
    if (n > 0)
      cxxlapack::syevd<int>('V', 'U', n, &matrix, n, &value, answer, -1, &wanted_integers, -1);
    integers = wanted_integers;
  });
  const std::size_t bytes = Pieces::bytes_of<T>(batch.size()) + Pieces::bytes_of<T>(work_size) +
                            Pieces::bytes_of<int>(integers);
  return for_matrices(
      site, batch, bytes, "", [=](const KernelArgs& args, int64_t i, std::byte* memory) {
        if (n == 0) return true;
        Pieces pieces(memory);
        T* a = pieces.take<T>(batch.size());
        T* work = pieces.take<T>(work_size);
        int* integer_work = pieces.take<int>(integers);
        T* values = args.output<T>(0) + i * n;
        T* vectors = args.output<T>(1) + i * batch.size();
        std::copy_n(args.input<T>(0) + i * batch.size(), batch.size(), a);
        // Its upper triangle is our lower one; its columns, the vectors, are our rows.
        if (is_finite(a, batch.size()) &&
            cxxlapack::syevd<int>('V', 'U', n, a, n, values, work, lapack_int(work_size),
                                  integer_work, lapack_int(integers)) == 0) {
          transpose(a, vectors, n, n);
        } else {
          fill_nan(values, n);
          fill_nan(vectors, batch.size());
        }
        return true;
      });
}

template <class T>
Kernel make_svd(const KernelSite& site) {
  const Batch batch(site.input_shape(0));
  const int rows = lapack_int(batch.rows), columns = lapack_int(batch.columns);
  const int k = std::min(rows, columns);
  const int64_t work_size = wanted<T>([=](T* answer) {
    T matrix = 0, s = 0, u = 0, v = 0;
    int integers = 0;
    if (k > 0)
      cxxlapack::gesdd<int>('S', columns, rows, &matrix, columns, &s, &u, columns, &v, k, answer,
                            -1, &integers);
  });
  const std::size_t bytes = Pieces::bytes_of<T>(batch.size()) + Pieces::bytes_of<T>(work_size) +
                            Pieces::bytes_of<int>(8 * k);
  return for_matrices(
      site, batch, bytes, "", [=](const KernelArgs& args, int64_t i, std::byte* memory) {
        if (k == 0) return true;
        Pieces pieces(memory);
        T* a = pieces.take<T>(batch.size());
        T* work = pieces.take<T>(work_size);
        int* integers = pieces.take<int>(8 * k);
        T* u = args.output<T>(0) + i * rows * k;
        T* s = args.output<T>(1) + i * k;
        T* v = args.output<T>(2) + i * k * columns;
        std::copy_n(args.input<T>(0) + i * batch.size(), batch.size(), a);
        // Of the transposed matrix u and v change places, and lie as we want them.
        const bool found = is_finite(a, batch.size()) &&
                           cxxlapack::gesdd<int>('S', columns, rows, a, columns, s, v, columns, u,
                                                 k, work, lapack_int(work_size), integers) == 0;
        if (!found) {
          fill_nan(u, int64_t{rows} * k);
          fill_nan(s, k);
          fill_nan(v, int64_t{k} * columns);
        }
        return true;
      });
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add("cholesky", kCpu, dtype, make_cholesky<T>);
  registry.add("inverse", kCpu, dtype, make_inverse<T>);
  registry.add("solve", kCpu, dtype, make_solve<T>);
  registry.add("det", kCpu, dtype,
               [](const KernelSite& site) { return make_determinant<T>(site, false); });
  registry.add("logdet", kCpu, dtype,
               [](const KernelSite& site) { return make_determinant<T>(site, true); });
  registry.add("qr", kCpu, dtype, make_qr<T>);
  registry.add("eigh", kCpu, dtype, make_eigh<T>);
  registry.add("svd", kCpu, dtype, make_svd<T>);
}

}  // namespace

void register_linalg_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/operands.h"

/// The ops of vectors and matrices. What ops.h says of ops holds for these.
namespace gradgraph GRADGRAPH_API {

// --- Products ----------------------------------------------------------------------------------

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
};
/// The product over the last two axes, [..., m, k] times [..., k, n]; leading axes are batches
/// and broadcast. Rank >= 2, of float32, float64, int32 or int64. Source: numpy.matmul, with
/// tf.matmul's transpositions.
Output matmul(Output a, Output b, MatmulOptions options = {}, Where where = Where::current());

/// Products, sums, transpositions and diagonals by the names of axes: `einsum("bik,bkj->bij", {a,
/// b})`. An operand's axes are letters; those that the result lacks are summed over. "..." stands
/// for axes that broadcast. Without "->" the result has all letters that occur once, in
/// alphabetical order, behind those of "...". A letter that an operand has twice is its diagonal,
/// of known size. Operands are multiplied from the left to the right, by matmul where there is
/// something to sum, and are of its dtypes. BuildError for what does not fit; extents that only a
/// run knows must agree as matmul's and mul's. Source: numpy.einsum.
Output einsum(std::string_view equation, const std::vector<Output>& operands,
              Where where = Where::current());

// --- Lengths and angles ------------------------------------------------------------------------

/// The length of vectors: the square root of the sum of squares over `axes`; where that is 0, so
/// is the gradient. Of a floating dtype. Source: the array API's vector_norm.
Output norm(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
/// x divided by its length along `axis`, or by `epsilon` (above 0; in float16 no less than 1e-4)
/// where it is shorter. Of a floating dtype. Source: torch.nn.functional.normalize.
Output l2_normalize(Output x, std::int64_t axis = -1, double epsilon = 1e-12,
                    Where where = Where::current());
/// The cosine of the angle between a and b along `axis` of the shape that they broadcast to; both
/// have it, of one extent, and the result lacks it. A length counts as no less than `epsilon`, as
/// in l2_normalize. Of one floating dtype. Source: torch.cosine_similarity.
Output cosine_similarity(Output a, Output b, std::int64_t axis = -1, double epsilon = 1e-8,
                         Where where = Where::current());

// --- Parts of matrices -------------------------------------------------------------------------
//
// Matrices are the last two axes, of any dtype where nothing else is said; leading axes are
// batches. Diagonal k is k columns right of the main one, or with k < 0 -k rows below it. Source:
// NumPy's of these names; of `diag` torch.diag_embed.

/// [..., m, n] as [..., n, m].
Output matrix_transpose(Output x, Where where = Where::current());
/// Ones on the main diagonal, else zeros: [rows, columns], or square.
Output eye(Graph& graph, std::int64_t rows, std::optional<std::int64_t> columns = {},
           DType dtype = float32, Where where = Where::current());
/// Vectors [..., n] as the main diagonals of matrices [..., n, n], which are else 0.
Output diag(Output x, Where where = Where::current());
/// Diagonal k as vectors: [..., m, n] gives [..., length].
Output diagonal(Output x, std::int64_t k = 0, Where where = Where::current());
/// The sum of the main diagonal: [..., m, n] gives [...]. Of the dtypes of `sum`.
Output trace(Output x, Where where = Where::current());
/// x up to diagonal k, with zeros right of it; and from diagonal k on, with zeros left of it.
Output tril(Output x, std::int64_t k = 0, Where where = Where::current());
Output triu(Output x, std::int64_t k = 0, Where where = Where::current());

// --- Equations and decompositions --------------------------------------------------------------
//
// Matrices are the last two axes, of a floating dtype; leading axes are batches. Wrong shapes are
// BuildErrors. Source: the array API's linalg, NumPy's.

/// The inverses of square matrices. A singular one throws RunError in a run.
Output inverse(Output x, Where where = Where::current());
/// The x of a x = b: `a` [..., n, n], `b` [..., n, k], whose leading axes broadcast where both
/// shapes are known. A singular matrix throws RunError in a run.
Output solve(Output a, Output b, Where where = Where::current());
/// Determinants: [..., n, n] gives [...], 0 for singular matrices, whose gradient throws.
Output det(Output x, Where where = Where::current());
struct LogDet {
  Output sign;       ///< -1, 0 or 1; its gradient is 0
  Output logarithm;  ///< of the determinant's size, -inf where that is 0
};
/// det as sign * exp(logarithm), which neither overflows nor underflows.
LogDet logdet(Output x, Where where = Where::current());
/// The lower triangle L with L L^T = x, of symmetric positive definite matrices; others throw
/// RunError in a run. Only x's lower triangle is read, and the gradient is symmetric.
Output cholesky(Output x, Where where = Where::current());
struct Qr {
  Output q, r;
};
/// q r = x: [..., m, n] gives q [..., m, k] with orthonormal columns and r [..., k, n], upper
/// triangles, k = min(m, n). Signs are LAPACK's. The gradient needs m and n, and that the first k
/// columns are independent: otherwise it throws.
Qr qr(Output x, Where where = Where::current());
struct Eigh {
  Output values, vectors;
};
/// Eigenvalues [..., n], ascending, and eigenvectors, as columns, of symmetric matrices. Only x's
/// lower triangle is read, and the gradient is symmetric; that of vectors is not finite where
/// eigenvalues are equal. NaN for matrices that are not finite.
Eigh eigh(Output x, Where where = Where::current());
struct Svd {
  Output u, s, vt;
};
/// u diag(s) vt = x: [..., m, n] gives u [..., m, k], the singular values s [..., k], descending,
/// and vt [..., k, n], k = min(m, n). The gradient of u and vt is not finite where singular
/// values are equal or 0. NaN for matrices that are not finite.
Svd svd(Output x, Where where = Where::current());

}  // namespace gradgraph

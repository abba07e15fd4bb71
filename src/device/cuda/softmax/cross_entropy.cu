#include "device/cuda/general/indices.h"
#include "device/cuda/kernels.h"
#include "device/cuda/softmax/softmax_rows.h"

/// A cross entropy's gradient by its logits, and the loss along with it, from one softmax.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

/// Rows that are worked on by a warp.
constexpr int64_t kMediumRow = 4 * kWarp;

/// Logits [rows, classes], and what comes of them; `losses` is null where they are not wanted.
template <class T>
struct Problem {
  int64_t rows = 1, classes = 1;
  bool with_loss = false;
  bool one_grad = false;  ///< one number for all rows
  const T *logits = nullptr, *grads = nullptr;
  T *logits_grad = nullptr, *losses = nullptr;

  explicit Problem(const KernelSite& site)
      : with_loss(site.attribute<bool>("with_loss")), one_grad(site.input_shape(2).rank() == 0) {
    const Shape& shape = site.input_shape(0);
    classes = shape[shape.rank() - 1];
    rows = extent(shape, 0, shape.rank() - 1);
  }
  Problem with(const KernelArgs& args) const {
    Problem problem(*this);
    problem.logits = args.input<T>(0);
    problem.grads = args.input<T>(2);
    problem.logits_grad = args.output<T>(0);
    problem.losses = with_loss ? args.output<T>(1) : nullptr;
    return problem;
  }
  __device__ T grad(int64_t row) const { return grads[one_grad ? 0 : row]; }
};

/// The last block looks for a label to refuse, where there is one that has no row; of such labels
/// the others make a loss of 0.
template <int kLanes, class T, class Label>
__global__ void __launch_bounds__(kRowThreads)
    sparse_grad(Problem<T> problem, const Label* labels, unsigned row_blocks, RefusalSlot slot) {
  using Grid = RowGrid<kLanes>;
  if (blockIdx.x == row_blocks)
    return refuse_first_bad<kRowThreads>(labels, problem.rows, problem.classes, slot);
  const int64_t step = static_cast<int64_t>(row_blocks) * kRowThreads / kLanes;
  for (int64_t row = Grid::first(); row < problem.rows; row += step) {
    const T* x = problem.logits + row * problem.classes;
    T* y = problem.logits_grad + row * problem.classes;
    const auto [largest, rest, top] = totals_of<kLanes>(x, problem.classes, int64_t{1});
    const T grad = problem.grad(row), share = 1 / (1 + rest);
    const auto label = static_cast<int64_t>(labels[row]);
    for (int64_t i = Grid::lane(); i < problem.classes; i += kLanes) {
      const T exponential = i == top ? T{1} : math::exp(x[i] - largest);
      T value = exponential * share;
      if (i == label) value = x[i] == largest ? 0 - rest * share : value - 1;
      y[i] = value * grad;
    }
    if (problem.losses && Grid::lane() == 0)
      problem.losses[row] = label >= 0 && label < problem.classes
                                ? loss_of(x[label], largest, math::log1p(rest))
                                : T{0};
  }
}

template <int kLanes, class T>
__global__ void __launch_bounds__(kRowThreads)
    dense_grad(Problem<T> problem, const T* all_labels, bool skips_zeros) {
  using Grid = RowGrid<kLanes>;
  const int64_t classes = problem.classes;
  for (int64_t row = Grid::first(); row < problem.rows; row += Grid::step()) {
    const T* x = problem.logits + row * classes;
    const T* labels = all_labels + row * classes;
    T* y = problem.logits_grad + row * classes;
    const auto [largest, rest, top] = totals_of<kLanes>(x, classes, int64_t{1});
    const T log_rest = math::log1p(rest);
    double loss = 0, others = 0;
    for (int64_t i = Grid::lane(); i < classes; i += kLanes) {
      const T label = labels[i];
      if (i != top) others += static_cast<double>(label);
      if (problem.losses && (!skips_zeros || label != 0))
        loss += static_cast<double>(label * loss_of(x[i], largest, log_rest));
    }
    others = row_reduce<kLanes>(others, classes, functors::Add{});
    if (problem.losses) {
      loss = row_reduce<kLanes>(loss, classes, functors::Add{});
      if (Grid::lane() == 0) problem.losses[row] = static_cast<T>(loss);
    }
    // The largest probability may be so close to 1 that the label cannot be subtracted from it.
    const T grad = problem.grad(row), share = 1 / (1 + rest), other = static_cast<T>(others);
    const T weight = (other + labels[top]) * share;
    const T at_top = (other - labels[top] * rest) * share;
    for (int64_t i = Grid::lane(); i < classes; i += kLanes)
      y[i] = (i == top ? at_top : math::exp(x[i] - largest) * weight - labels[i]) * grad;
  }
}

template <class T>
Kernel make_sparse(const KernelSite& site) {
  const Problem<T> given(site);
  const bool checks = site.attribute<bool>("checks_labels");
  return {[=, dtype = site.input_dtype(1)](const KernelArgs& args) {
    if (given.classes == 0 && checks)
      check_indices(args, args.inputs[1], dtype, given.rows, given.classes);
    if (given.rows * given.classes == 0) return;
    dispatch<std::int32_t, int64_t>(dtype, [&]<class Label>() {
      const Problem<T> problem = given.with(args);
      const auto issue_rows = [&]<int kLanes>() {
        const unsigned blocks = RowGrid<kLanes>::blocks(given.rows);
        issue(args, sparse_grad<kLanes, T, Label>, blocks + (checks ? 1 : 0), kRowThreads, 0,
              problem, args.input<Label>(1), blocks, stream_of(args).refusal_slot());
      };
      if (given.classes <= kMediumRow)
        issue_rows.template operator()<kWarp>();
      else
        issue_rows.template operator()<kRowThreads>();
    });
  }};
}

template <class T>
Kernel make_dense(const KernelSite& site) {
  const Problem<T> given(site);
  const bool skips_zeros = site.attribute<bool>("skips_zeros");
  return {[=](const KernelArgs& args) {
    if (given.rows == 0) return;
    const Problem<T> problem = given.with(args);
    if (given.classes == 0) {
      if (given.with_loss)
        stream_of(args).clear(args.outputs[1], static_cast<std::size_t>(given.rows) * sizeof(T));
      return;
    }
    if (given.classes <= kMediumRow)
      issue(args, dense_grad<kWarp, T>, RowGrid<kWarp>::blocks(given.rows), kRowThreads, 0,
            problem, args.input<T>(1), skips_zeros);
    else
      issue(args, dense_grad<kRowThreads, T>, RowGrid<kRowThreads>::blocks(given.rows),
            kRowThreads, 0, problem, args.input<T>(1), skips_zeros);
  }};
}

}  // namespace

void register_cross_entropy_kernels(KernelRegistry& registry) {
  registry.add("sparse_softmax_cross_entropy_grad", kCuda, {float32}, make_sparse<float>);
  registry.add("sparse_softmax_cross_entropy_grad", kCuda, {float64}, make_sparse<double>);
  registry.add("softmax_cross_entropy_grad", kCuda, {float32}, make_dense<float>);
  registry.add("softmax_cross_entropy_grad", kCuda, {float64}, make_dense<double>);
}

}  // namespace gradgraph::cuda

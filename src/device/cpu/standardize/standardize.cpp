#include <algorithm>

#include "device/cpu/kernels.h"
#include "device/cpu/standardize/standardize_rows.h"
#include "device/parallel.h"
#include "device/shared/axis_view.h"

namespace gradgraph {
namespace {

using std::int64_t;

/// Calls `body(first row, rows)`, in parts.
template <class Body>
void for_rows(const AxisView& view, int threads, const Body& body) {
  constexpr int64_t kCost = 4;  // of an element, in additions
  parallel_for(view.outer, grain_of(view.size * kCost), threads,
               [&](int64_t begin, int64_t end) { body(begin * view.size, end - begin); });
}

AxisView last_axis(const KernelSite& site) {
  return {site.input_shape(0), site.input_shape(0).rank() - 1};
}

template <class T>
Kernel make_standardize(const KernelSite& site) {
  return {[view = last_axis(site), loops = best_standardize_rows<T>(),
           epsilon = site.attribute<double>("epsilon"),
           threads = site.threads()](const KernelArgs& args) {
    for_rows(view, threads, [&](int64_t start, int64_t rows) {
      loops.standardize(args.input<T>(0) + start, args.output<T>() + start, rows, view.size,
                        epsilon);
    });
  }};
}

template <class T>
Kernel make_standardize_grad(const KernelSite& site) {
  return {[view = last_axis(site), loops = best_standardize_rows<T>(),
           epsilon = site.attribute<double>("epsilon"),
           threads = site.threads()](const KernelArgs& args) {
    for_rows(view, threads, [&](int64_t start, int64_t rows) {
      loops.gradient(args.input<T>(0) + start, args.input<T>(1) + start, args.output<T>() + start,
                     rows, view.size, epsilon);
    });
  }};
}

template <class T>
void register_for(KernelRegistry& registry) {
  registry.add_faster("standardize", kCpu, {dtype_of<T>}, make_standardize<T>);
  registry.add_faster("standardize_grad", kCpu, {dtype_of<T>}, make_standardize_grad<T>);
}

}  // namespace

void register_standardize_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph

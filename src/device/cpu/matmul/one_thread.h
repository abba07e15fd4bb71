#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

namespace gradgraph {

/// Keeps BLAS and LAPACK on the calling thread. OpenBLAS asks omp_get_max_threads() at each call;
/// that setting is the calling thread's own.
#ifdef _OPENMP
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};
#else
struct OneThread {};
#endif

}  // namespace gradgraph

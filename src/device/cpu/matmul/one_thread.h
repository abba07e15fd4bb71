#pragma once

#include <dlfcn.h>

namespace gradgraph {

/// Keeps BLAS and LAPACK on the calling thread. An OpenBLAS built with OpenMP asks that library
/// at each call how many threads there are; the setting is the calling thread's own.
class OneThread {
 public:
  OneThread() : before_(openmp().max_threads ? openmp().max_threads() : 1) {
    if (before_ != 1) openmp().set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) openmp().set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  /// OpenMP's functions, of whichever library the process has, if any.
  struct OpenMp {
    int (*max_threads)();
    void (*set_num_threads)(int);
  };
  static const OpenMp& openmp() {
    static const OpenMp found = {
        reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads")),
        reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"))};
    return found;
  }

  int before_;
};

}  // namespace gradgraph

#pragma once

/// Marks functions that CPU and GPU kernels share.
#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif

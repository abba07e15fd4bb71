#pragma once

#include "device/cuda/convolution/geometry.h"

/// Convolution where every channel is a group of its own: sums of a few products each, with no
/// matrix in them. A thread has an element of the result.
namespace gradgraph::cuda {

inline bool is_depthwise(const Convolution& conv) {
  return conv.channels == 1 && conv.groups > 1;
}

template <class S>
Kernel make_depthwise_conv2d(const KernelSite& site, const Convolution& conv);
template <class S>
Kernel make_depthwise_input_grad(const KernelSite& site, const Convolution& conv);
template <class S>
Kernel make_depthwise_filter_grad(const KernelSite& site, const Convolution& conv);

}  // namespace gradgraph::cuda

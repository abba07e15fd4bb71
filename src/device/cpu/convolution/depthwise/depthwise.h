#pragma once

#include "device/kernel.h"
#include "gradgraph/shape.h"

/// Convolution of NHWC images where every channel is a group of its own: there is no matrix in
/// it, so it goes pixel by pixel, along the channels.
namespace gradgraph {

/// Whether the convolution at `site`, of an image and a filter of these shapes, is one.
bool is_depthwise(const KernelSite& site, const Shape& image, const Shape& filter);

template <class T>
Kernel make_depthwise_conv2d(const KernelSite& site);
template <class T>
Kernel make_depthwise_input_grad(const KernelSite& site);
template <class T>
Kernel make_depthwise_filter_grad(const KernelSite& site);

}  // namespace gradgraph

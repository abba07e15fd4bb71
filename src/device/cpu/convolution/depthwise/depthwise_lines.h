#pragma once

#include "device/kernel.h"
#include "ops/nn/window.h"

/// Depthwise convolution of float32 images with one filter for each channel: by line_loops, run
/// by run of pixels whose windows meet the image in the same taps.
namespace gradgraph {

/// What all three read or write; sizes in elements.
struct DepthwiseImages {
  Windows windows;
  std::int64_t batch = 0, channels = 0;
  int threads = 1;

  std::int64_t input_size() const {
    return windows.height.input * windows.width.input * channels;
  }
  std::int64_t output_size() const {
    return windows.height.output * windows.width.output * channels;
  }
  std::int64_t filter_size() const {
    return windows.height.window * windows.width.window * channels;
  }
};

Kernel make_depthwise_lines(const DepthwiseImages& images);
Kernel make_depthwise_lines_input_grad(const DepthwiseImages& images);
Kernel make_depthwise_lines_filter_grad(const DepthwiseImages& images);

}  // namespace gradgraph

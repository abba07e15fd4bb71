#pragma once

#include <string_view>

namespace gradgraph {

/// What is multiplied in 16 bits, and added up in float32.
inline constexpr std::string_view kLoweredProducts[] = {"matmul", "conv2d", "conv2d_input_grad",
                                                        "conv2d_filter_grad"};
/// What is of 16 bits where all that it reads is: it moves values, picks some, or gives numbers
/// of about the same size. Everything else stays float32: sums, exponentials, powers, quotients,
/// what divides by a sum, losses, random numbers, and updates.
inline constexpr std::string_view kLoweredFollowers[] = {"abs",
                                                         "add",
                                                         "avg_pool2d",
                                                         "avg_pool2d_grad",
                                                         "bias_add",
                                                         "broadcast_to",
                                                         "clip",
                                                         "concat",
                                                         "expand_dims",
                                                         "flatten",
                                                         "flip",
                                                         "gather",
                                                         "identity",
                                                         "leaky_relu",
                                                         "max_pool2d",
                                                         "max_pool2d_grad",
                                                         "max_pool2d_pick",
                                                         "maximum",
                                                         "minimum",
                                                         "mul",
                                                         "neg",
                                                         "pad",
                                                         "relu",
                                                         "relu6",
                                                         "relu_grad",
                                                         "reshape",
                                                         "sigmoid",
                                                         "slice",
                                                         "split",
                                                         "squeeze",
                                                         "strided_slice",
                                                         "strided_slice_grad",
                                                         "sub",
                                                         "tanh",
                                                         "tile",
                                                         "transpose",
                                                         "where"};

}  // namespace gradgraph

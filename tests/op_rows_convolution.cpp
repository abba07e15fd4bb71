#include "golden_rows.h"

namespace gradgraph::tests {
namespace {

Conv2dOptions conv_options(const GoldenOptions& o) {
  return {.strides = o.pair("strides", 1),
          .padding = o.padding(),
          .border = o.border(),
          .dilations = o.pair("dilations", 1),
          .groups = o.number("groups", 1),
          .layout = o.layout()};
}

}  // namespace

void add_convolution_rows(std::vector<OpRow>& rows) {
  rows.push_back({.name = "conv2d/literal",
                  .inputs = {Tensor{1.f, 2.f, 3.f, 4.f, 5.f, 6.f, 7.f, 8.f, 9.f},
                             Tensor{1.f, 0.f, 0.f, -1.f}},
                  .build = [](const std::vector<Output>& in) -> std::vector<Output> {
                    return {conv2d(reshape(in[0], {1, 3, 3, 1}), reshape(in[1], {2, 2, 1, 1}))};
                  },
                  .expected = {Tensor{-4.f, -4.f, -4.f, -4.f}.reshaped({1, 2, 2, 1})}});
  add_golden_rows(rows, "conv2d", [](const std::vector<Output>& in, const GoldenOptions& o) {
    return conv2d(in[0], in[1], conv_options(o));
  });
  add_golden_rows(rows, "conv2d_input_grad",
                  [](const std::vector<Output>& in, const GoldenOptions& o) {
                    return conv2d_input_grad(o.list("shape"), in[0], in[1], conv_options(o));
                  });
  add_golden_rows(rows, "conv2d_filter_grad",
                  [](const std::vector<Output>& in, const GoldenOptions& o) {
                    return conv2d_filter_grad(in[0], o.list("shape"), in[1], conv_options(o));
                  });
}

}  // namespace gradgraph::tests

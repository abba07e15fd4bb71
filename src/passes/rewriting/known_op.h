#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "gradgraph/op.h"

namespace gradgraph {

/// An op as a pass knows it, with all its attributes. A pass takes a node for one of this op only
/// where it knows everything about it: so no pass forgets an attribute that an op gets one day,
/// or a node that must run before.
class KnownOp {
 public:
  explicit KnownOp(std::string_view op, std::initializer_list<std::string_view> attributes = {});

  const OpDef& op() const { return *op_; }
  /// True for a node of this op that has these attributes, no other, and no control input.
  bool matches(const Node& node) const;

 private:
  const OpDef* op_;
  std::vector<std::string_view> attributes_;
};

/// Those that slide windows over images: "conv2d" or one of its gradients, a pool or one of its.
KnownOp known_convolution(std::string_view op);
KnownOp known_pool(std::string_view op);

/// Whether the attributes are those named and no others.
bool has_exactly(const Attributes& attributes, const std::vector<std::string_view>& names);

/// Equal to the bit: numbers, tensors and all.
bool same_value(const Attribute& a, const Attribute& b);
/// The same names with the same values.
bool same_attributes(const Attributes& a, const Attributes& b);

}  // namespace gradgraph

#include <algorithm>
#include <set>
#include <utility>

#include "gradgraph/profile.h"
#include "graph/program.h"

namespace gradgraph {
namespace {

double bytes_of_type(DType dtype, const Shape& shape) {
  return static_cast<double>(shape.num_elements()) * static_cast<double>(size_of(dtype));
}

}  // namespace

double flops(const Node& node) {
  double count = 0;
  if (node.op().flops) count += node.op().flops(node);
  if (node.attributes().find("program")) {
    const ElementwiseProgram& program = program_of(node);
    count += static_cast<double>(program.shape.num_elements()) *
             static_cast<double>(program.instructions.size());
  } else if (node.op().traits.elementwise && node.num_outputs() > 0) {
    count += static_cast<double>(node.shape().num_elements());
  }
  return count;
}

double bytes_moved(const Node& node) {
  double written = 0;
  for (int i = 0; i < node.num_outputs(); ++i)
    written += bytes_of_type(node.dtype(i), node.shape(i));
  if (node.op().traits.shape_only) return written;
  double read = 0;
  if (node.attributes().find("program") && !program_of(node).reads.empty()) {
    const ElementwiseProgram& program = program_of(node);
    for (std::size_t i = 0; i < program.reads.size(); ++i)
      read += bytes_of_type(
          program.input_dtypes[i],
          program.reads[i].row > 0 ? program.shape : node.input(program.reads[i].value).shape());
    return read + written;
  }
  std::set<std::pair<const Node*, int>> seen;
  for (int i = 0; i < node.num_inputs(); ++i) {
    const Output& input = node.input(i);
    if (!seen.insert({&input.node(), input.index()}).second) continue;
    const double bytes = bytes_of_type(input.dtype(), input.shape());
    read += i == 0 && node.op().traits.reads_part ? std::min(bytes, written) : bytes;
  }
  return read + written;
}

}  // namespace gradgraph

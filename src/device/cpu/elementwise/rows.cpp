#include "device/cpu/elementwise/rows.h"

#include "device/cpu/isa/levels.h"
#include "device/shared/scalar_functors.h"

namespace gradgraph {

GRADGRAPH_LEVELS(const RowTable, rows)

namespace {

template <class... F>
Row find_in(std::string_view op, DType operand, const Row (*rows)[kRowDTypes],
            functors::List<F...>) {
  Row row = nullptr;
  (((F::op == op ? row = (*rows)[static_cast<std::size_t>(operand)] : nullptr), ++rows), ...);
  return row;
}

}  // namespace

Row find_row(std::string_view op, DType operand, DType result) {
  const RowTable& table = GRADGRAPH_AT_LEVEL(best_isa(), rows);
  if (op == "cast")
    return table.cast[static_cast<std::size_t>(operand)][static_cast<std::size_t>(result)];
  if (op == "where") return table.select[static_cast<std::size_t>(result)];
  if (const Row row = find_in(op, operand, table.unary, functors::Unary{})) return row;
  if (const Row row = find_in(op, operand, table.arithmetic, functors::Arithmetic{})) return row;
  return find_in(op, operand, table.comparison, functors::Comparison{});
}

}  // namespace gradgraph

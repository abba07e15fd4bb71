#include "device/cpu/rows.h"

#include "device/cpu/isa.h"
#include "device/scalar_functors.h"

namespace gradgraph {

extern const RowTable rows_baseline;
#ifdef GRADGRAPH_ISA_LEVELS
extern const RowTable rows_avx2;
extern const RowTable rows_avx512;
#endif

namespace {

const RowTable& best_table() {
#ifdef GRADGRAPH_ISA_LEVELS
  if (best_isa() == Isa::avx512) return rows_avx512;
  if (best_isa() == Isa::avx2) return rows_avx2;
#endif
  return rows_baseline;
}

template <class... F>
Row find_in(std::string_view op, DType operand, const Row (*rows)[kRowDTypes],
            functors::List<F...>) {
  Row row = nullptr;
  (((F::op == op ? row = (*rows)[static_cast<std::size_t>(operand)] : nullptr), ++rows), ...);
  return row;
}

}  // namespace

Row find_row(std::string_view op, DType operand, DType result) {
  const RowTable& table = best_table();
  if (op == "cast")
    return table.cast[static_cast<std::size_t>(operand)][static_cast<std::size_t>(result)];
  if (op == "where") return table.select[static_cast<std::size_t>(result)];
  if (const Row row = find_in(op, operand, table.unary, functors::Unary{})) return row;
  if (const Row row = find_in(op, operand, table.arithmetic, functors::Arithmetic{})) return row;
  return find_in(op, operand, table.comparison, functors::Comparison{});
}

}  // namespace gradgraph

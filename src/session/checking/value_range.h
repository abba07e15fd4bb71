#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "gradgraph/dtype.h"
#include "gradgraph/shape.h"

namespace gradgraph {

/// What is in a floating value: all of it is looked at, a piece after the other.
class ValueRange {
 public:
  /// Takes in the next elements. Of other dtypes there is nothing to say.
  void add(DType dtype, const void* elements, std::size_t count);

  bool has_nan() const { return nans_ > 0; }
  bool has_infinity() const { return infinities_ > 0; }
  bool is_finite() const { return nans_ + infinities_ == 0; }

  /// "2 NaN and 1 infinity in float32[2,3], the first at [0,2]".
  std::string faults(DType dtype, const Shape& shape) const;
  /// "float32[2,3] from -1 to 4, with 2 NaN and 1 infinity".
  std::string words(DType dtype, const Shape& shape) const;

 private:
  template <class T>
  void add_elements(const T* elements, std::int64_t count);
  std::string counts() const;

  double least_ = std::numeric_limits<double>::infinity(), most_ = -least_;  ///< of finite ones
  std::int64_t seen_ = 0, nans_ = 0, infinities_ = 0;
  std::int64_t first_fault_ = -1;  ///< its number
};

}  // namespace gradgraph

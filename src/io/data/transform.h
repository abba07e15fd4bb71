#pragma once

#include <string>

#include "gradgraph/data.h"

namespace gradgraph::data {

/// What an array holds of one sample.
struct SampleType {
  DType dtype;
  Shape shape;
};

/// A transform of one array that knows what comes out, so that its memory is there before.
struct Transform::Step {
  explicit Step(std::string array_name) : array(std::move(array_name)) {}
  virtual ~Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  /// What becomes of a sample of this type. Throws BuildError for one that it cannot take.
  virtual SampleType plan(const SampleType& from, SourceLocation where) const = 0;
  /// Whether `apply` may write where it reads.
  virtual bool in_place() const { return false; }
  /// Makes one sample.
  virtual void apply(const SampleType& from, const void* in, void* out, Random random) const = 0;
  /// Throws RunError where `apply` must not see a value. Before all of a batch.
  virtual void check(const Tensor& batch) const { static_cast<void>(batch); }

  const std::string array;
};

}  // namespace gradgraph::data

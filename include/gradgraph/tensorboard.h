#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "gradgraph/graph.h"
#include "gradgraph/inside.h"
#include "gradgraph/tensor.h"

namespace gradgraph GRADGRAPH_API {

/// Writes an event file for `tensorboard --logdir DIRECTORY`, which shows it while it grows. All
/// throw DataError where it cannot be written. Source: TensorFlow's event.proto, summary.proto,
/// graph.proto and record_writer.
class EventWriter {
 public:
  /// A new file in `directory`, which is made where there is none.
  explicit EventWriter(const std::filesystem::path& directory,
                       SourceLocation where = SourceLocation::current());
  ~EventWriter();
  EventWriter(EventWriter&&) noexcept;
  EventWriter& operator=(EventWriter&&) noexcept;

  /// A point of the curve `tag`: "loss/training".
  void scalar(std::string_view tag, double value, std::int64_t step,
              SourceLocation where = SourceLocation::current());
  /// How the finite elements of a floating tensor are distributed. Throws BuildError for another
  /// dtype.
  void histogram(std::string_view tag, const Tensor& values, std::int64_t step,
                 SourceLocation where = SourceLocation::current());
  /// The nodes of a graph, by their scopes and devices.
  void graph(const Graph& graph, SourceLocation where = SourceLocation::current());

  const std::filesystem::path& path() const;

 private:
  struct State;
  Inside<State> state_;
};

}  // namespace gradgraph

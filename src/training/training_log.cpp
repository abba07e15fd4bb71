#include <algorithm>

#include "core/text.h"
#include "gradgraph/training.h"

namespace gradgraph {

const MetricMeans& TrainingLog::operator[](std::string_view name) const {
  const auto known = std::ranges::find(metrics, name, &MetricMeans::name);
  if (known == metrics.end())
    throw BuildError(fmt::format("there is no metric '{}' in a training log", name), {});
  return *known;
}

std::string TrainingLog::line() const {
  std::string text;
  for (const MetricMeans& metric : metrics) {
    text += fmt::format("{}: {:.4f}", metric.name, metric.training);
    if (has_validation) text += fmt::format(" / {:.4f}", metric.validation);
    text += '\t';
  }
  return text + fmt::format("step {}  {:.2f} sec", epoch, seconds);
}

}  // namespace gradgraph

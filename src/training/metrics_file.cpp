#include "training/metrics_file.h"

#include <nlohmann/json.hpp>

namespace gradgraph::training {

MetricsFile::MetricsFile(const std::filesystem::path& path, bool appends) : path_(path) {
  if (path_.empty()) return;
  file_.open(path_, appends ? std::ios::app : std::ios::trunc);
  if (!file_) throw DataError("cannot write " + path_.string());
}

void MetricsFile::write(const TrainingLog& log) {
  if (path_.empty()) return;
  nlohmann::ordered_json line = {{"epoch", log.epoch}, {"batch", log.batches}};
  for (const MetricMeans& metric : log.metrics) {
    line[metric.name] = metric.training;
    if (log.has_validation) line["validation_" + metric.name] = metric.validation;
  }
  line["seconds"] = log.seconds;
  file_ << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n"
        << std::flush;
  if (!file_) throw DataError("cannot write " + path_.string());
}

}  // namespace gradgraph::training

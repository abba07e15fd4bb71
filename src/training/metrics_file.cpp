#include "training/metrics_file.h"

#include <nlohmann/json.hpp>

namespace gradgraph::training {

namespace {

using nlohmann::ordered_json;

/// The whole lines up to a place in training; nothing where there is no such file.
std::string lines_before(const std::filesystem::path& path, std::int64_t epoch,
                         std::int64_t batches) {
  std::ifstream file(path);
  std::string kept, line;
  while (std::getline(file, line) && !file.eof()) {
    const ordered_json entry = ordered_json::parse(line, nullptr, false);
    const auto number = [&](const char* name) {
      const auto known = entry.is_object() ? entry.find(name) : entry.end();
      return known != entry.end() && known->is_number_integer() ? known->get<std::int64_t>()
                                                                : std::int64_t{-1};
    };
    const std::int64_t of_epoch = number("epoch"), of_batch = number("batch");
    if (of_epoch < 0 || of_epoch > epoch || (of_epoch == epoch && of_batch > batches)) break;
    kept += line + "\n";
  }
  return kept;
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path, std::int64_t epoch,
                         std::int64_t batches, SourceLocation where)
    : path_(path) {
  if (path_.empty()) return;
  const bool goes_on = epoch > 1 || batches > 0;
  const std::string kept = goes_on ? lines_before(path_, epoch, batches) : std::string();
  file_.open(path_, std::ios::trunc);
  file_ << kept << std::flush;
  if (!file_) throw DataError("fit: cannot write metrics_file " + path_.string(), where);
}

void MetricsFile::write(const TrainingLog& log, SourceLocation where) {
  if (path_.empty()) return;
  ordered_json line = {{"epoch", log.epoch}, {"batch", log.batches}};
  for (const MetricMeans& metric : log.metrics) {
    line[metric.name] = metric.training;
    if (log.has_validation) line["validation_" + metric.name] = metric.validation;
  }
  line["seconds"] = log.seconds;
  file_ << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n"
        << std::flush;
  if (!file_) throw DataError("fit: cannot write metrics_file " + path_.string(), where);
}

}  // namespace gradgraph::training

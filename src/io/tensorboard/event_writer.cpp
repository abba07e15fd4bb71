#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"
#include "gradgraph/tensorboard.h"
#include "io/tensorboard/message.h"

namespace gradgraph {
namespace {

// Numbers of fields.
namespace event {
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kGraph = 4, kSummary = 5;
}
namespace summary_field {
constexpr int kValue = 1, kTag = 1, kSimpleValue = 2, kHistogram = 5;
}
namespace histogram_field {
constexpr int kMin = 1, kMax = 2, kCount = 3, kSum = 4, kSumOfSquares = 5, kLimits = 6,
              kBuckets = 7;
}
namespace graph_field {
constexpr int kNode = 1, kVersions = 4, kProducer = 1;
constexpr int kName = 1, kOp = 2, kInput = 3, kDevice = 4;
}  // namespace graph_field

/// Castagnoli's, bit by bit as the records have it.
std::uint32_t crc32c(std::string_view bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> result{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit)
        value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78u : 0u);
      result[i] = value;
    }
    return result;
  }();
  std::uint32_t crc = ~0u;
  for (const char byte : bytes)
    crc = table[(crc ^ static_cast<unsigned char>(byte)) & 0xff] ^ (crc >> 8);
  return ~crc;
}
std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i)
    bytes += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xff);
  return bytes;
}

/// Upper limits of buckets: powers of 1.1 from 1e-12 on, their negatives, and the largest double.
const std::vector<double>& bucket_limits() {
  static const auto limits = [] {
    std::vector<double> positive;
    for (double limit = 1e-12; limit < 1e20; limit *= 1.1) positive.push_back(limit);
    std::vector<double> result(positive.rbegin(), positive.rend());
    for (double& limit : result) limit = -limit;
    result.push_back(0);
    result.insert(result.end(), positive.begin(), positive.end());
    result.push_back(std::numeric_limits<double>::max());
    return result;
  }();
  return limits;
}

Message histogram_of(const Tensor& values) {
  const std::vector<double>& limits = bucket_limits();
  std::vector<double> counts(limits.size());
  double least = 0, most = 0, count = 0, sum = 0, squares = 0;
  const Tensor wide = values.cast(float64);
  for (const double value : wide.span<double>()) {
    if (!std::isfinite(value)) continue;
    least = count == 0 ? value : std::min(least, value);
    most = count == 0 ? value : std::max(most, value);
    ++count, sum += value, squares += value * value;
    const auto bucket = std::ranges::lower_bound(limits, value) - limits.begin();
    ++counts[static_cast<std::size_t>(bucket)];
  }
  // From the first bucket that is not empty to the last one.
  const auto is_full = [](double of) { return of > 0; };
  const auto first = std::ranges::find_if(counts, is_full) - counts.begin();
  const auto last = counts.rend() - std::find_if(counts.rbegin(), counts.rend(), is_full);
  Message message;
  message.number(histogram_field::kMin, least);
  message.number(histogram_field::kMax, most);
  message.number(histogram_field::kCount, count);
  message.number(histogram_field::kSum, sum);
  message.number(histogram_field::kSumOfSquares, squares);
  if (first < last) {
    message.numbers(histogram_field::kLimits,
                    {limits.data() + first, static_cast<std::size_t>(last - first)});
    message.numbers(histogram_field::kBuckets,
                    {counts.data() + first, static_cast<std::size_t>(last - first)});
  }
  return message;
}

Message definition_of(const Node& node) {
  Message message;
  message.text(graph_field::kName, node.name());
  message.text(graph_field::kOp, node.op().name);
  for (const Output& input : node.inputs())
    message.text(graph_field::kInput,
                 input.index() == 0 ? input.node().name()
                                    : fmt::format("{}:{}", input.node().name(), input.index()));
  for (const Node* before : node.control_inputs())
    message.text(graph_field::kInput, "^" + before->name());
  if (!node.device().empty()) message.text(graph_field::kDevice, node.device());
  return message;
}

}  // namespace

struct EventWriter::State {
  std::filesystem::path path;
  std::ofstream file;

  void write(const Message& message, SourceLocation where) {
    const std::string& data = message.bytes();
    const std::string length = little_endian(std::uint64_t{data.size()});
    file << length << little_endian(masked_crc(length)) << data << little_endian(masked_crc(data))
         << std::flush;
    if (!file) throw DataError("cannot write " + path.string(), where);
  }
  Message event(std::int64_t step) const {
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    Message message;
    message.number(event::kWallTime, now.count());
    message.integer(event::kStep, step);
    return message;
  }
  void write_value(const Message& value, std::int64_t step, SourceLocation where) {
    Message summary, message = event(step);
    summary.message(summary_field::kValue, value);
    message.message(event::kSummary, summary);
    write(message, where);
  }
};

EventWriter::EventWriter(const std::filesystem::path& directory, SourceLocation where)
    : state_(std::make_unique<State>()) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    throw DataError(fmt::format("cannot make {}: {}", directory.string(), error.message()),
                    where);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  // Files of one second and process differ in a number.
  for (int number = 0; state_->path.empty() || std::filesystem::exists(state_->path); ++number)
    state_->path = directory / fmt::format("events.out.tfevents.{:010}.gradgraph.{}.{}", seconds,
                                           getpid(), number);
  state_->file.open(state_->path, std::ios::binary);
  if (!state_->file) throw DataError("cannot write " + state_->path.string(), where);
  Message first = state_->event(0);
  first.text(event::kFileVersion, "brain.Event:2");
  state_->write(first, where);
}
EventWriter::~EventWriter() = default;
EventWriter::EventWriter(EventWriter&&) noexcept = default;
EventWriter& EventWriter::operator=(EventWriter&&) noexcept = default;

void EventWriter::scalar(std::string_view tag, double value, std::int64_t step,
                         SourceLocation where) {
  Message message;
  message.text(summary_field::kTag, tag);
  message.short_number(summary_field::kSimpleValue, static_cast<float>(value));
  state_->write_value(message, step, where);
}

void EventWriter::histogram(std::string_view tag, const Tensor& values, std::int64_t step,
                            SourceLocation where) {
  if (!values || !is_floating(values.dtype()))
    throw BuildError(fmt::format("the histogram '{}' needs a floating tensor", tag), where);
  Message message;
  message.text(summary_field::kTag, tag);
  message.message(summary_field::kHistogram, histogram_of(values));
  state_->write_value(message, step, where);
}

void EventWriter::graph(const Graph& graph, SourceLocation where) {
  Message definition, versions, message = state_->event(0);
  for (const Node& node : graph.nodes())
    definition.message(graph_field::kNode, definition_of(node));
  versions.integer(graph_field::kProducer, 22);  // the first without functions in it
  definition.message(graph_field::kVersions, versions);
  message.text(event::kGraph, definition.bytes());
  state_->write(message, where);
}

const std::filesystem::path& EventWriter::path() const { return state_->path; }

}  // namespace gradgraph

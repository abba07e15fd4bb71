#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "gradgraph/error.h"
#include "io/profile_state.h"

/// The trace event format of Chrome, which Perfetto reads as well: spans are "complete events"
/// (ph X) in microseconds, arrows pairs of flow events (ph s and f).
namespace gradgraph {
namespace {

using Json = nlohmann::ordered_json;

/// Rows of the picture are "threads": the host, then each device's streams.
constexpr int kHostRow = 1;

Json span(const std::string& name, const char* category, double start, double seconds,
          Json arguments = Json::object(), int row = kHostRow) {
  return {
      {"name", name},         {"cat", category}, {"ph", "X"},  {"ts", start * 1e6},
      {"dur", seconds * 1e6}, {"pid", 1},        {"tid", row}, {"args", std::move(arguments)}};
}

Json arrow_end(const char* phase, int id, double time, int row) {
  Json event = {{"name", "differentiates"}, {"cat", "gradient"}, {"ph", phase}, {"id", id},
                {"ts", time * 1e6},         {"pid", 1},          {"tid", row}};
  if (phase[0] == 'f') event["bp"] = "e";
  return event;
}

}  // namespace

void Profile::write_trace(const std::string& path, SourceLocation where) const {
  const State& state = *state_;
  Json events = Json::array();
  int arrows = 0;
  std::map<std::string, int> rows;  // of devices beside the host
  const auto row_of = [&](const State::NodeRecord& node) {
    if (node.stream.empty()) return kHostRow;
    const std::string name = node.device + ", " + node.stream;
    const auto [found, is_new] =
        rows.try_emplace(name, kHostRow + 1 + static_cast<int>(rows.size()));
    if (is_new)
      events.push_back({{"name", "thread_name"},
                        {"cat", "row"},
                        {"ph", "M"},
                        {"pid", 1},
                        {"tid", found->second},
                        {"args", {{"name", name}}}});
    return found->second;
  };
  for (const State::TracedRun& run : state.traced) {
    if (run.wait_seconds > 0)
      events.push_back(span("wait", "wait", run.wait_start, run.wait_seconds));
    events.push_back(span("run", "run", run.start, run.seconds, {{"step", run.step}}));
    events.push_back(span("feed", "feed", run.start, run.feed_seconds));
    std::unordered_map<const Node*, const State::Span*> span_of;  // by the user's node
    for (const State::Span& timed : run.nodes) {
      const State::NodeRecord& node = state.nodes[timed.node];
      span_of.try_emplace(node.user_node, &timed);
      Json arguments = {{"op", node.op},
                        {"shapes", node.shapes},
                        {"bytes", node.bytes},
                        {"device", node.device}};
      if (!node.line.empty()) arguments["line"] = node.line;
      if (timed.seconds > 0) {
        if (node.flops > 0) arguments["GFLOP/s"] = node.flops / timed.seconds * 1e-9;
        arguments["GB/s"] = node.bytes / timed.seconds * 1e-9;
      }
      events.push_back(
          span(node.name, "node", timed.start, timed.seconds, arguments, row_of(node)));
      const Node* forward = node.user_node->differentiates();
      const auto found = forward ? span_of.find(forward) : span_of.end();
      if (found == span_of.end()) continue;
      events.push_back(arrow_end("s", ++arrows, found->second->start,
                                 row_of(state.nodes[found->second->node])));
      events.push_back(arrow_end("f", arrows, timed.start, row_of(node)));
    }
  }
  std::ofstream file(path);
  file << Json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}}.dump() << '\n';
  if (!file.flush()) throw DataError("cannot write " + path, where);
}

}  // namespace gradgraph

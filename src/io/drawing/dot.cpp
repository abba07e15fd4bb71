#include "gradgraph/dot.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <ostream>

#include "core/text.h"
#include "gradgraph/op.h"
#include "io/drawing/dot_text.h"
#include "io/drawing/drawing.h"

namespace gradgraph {
namespace {

constexpr int kMaxTypes = 4;
constexpr std::size_t kManyEdges = 200;
/// Nodes that a box lists one by one; of more it says what they do.
constexpr std::size_t kMaxRows = 8;

std::string types_of(const Node& node) {
  std::string text;
  for (int i = 0; i < std::min(node.num_outputs(), kMaxTypes); ++i)
    text += fmt::format("{}{}{}", i == 0 ? "" : ", ", node.dtype(i), node.shape(i));
  if (node.num_outputs() > kMaxTypes) text += fmt::format(", ... ({})", node.num_outputs());
  return text;
}

/// "4 matmul, 2 add, 1 relu": what most of them do first.
std::string ops_of(const std::vector<const Node*>& nodes) {
  std::vector<std::pair<std::string_view, int>> counts;
  for (const Node* node : nodes) {
    const auto known =
        std::ranges::find(counts, node->op().name, &std::pair<std::string_view, int>::first);
    if (known == counts.end())
      counts.emplace_back(node->op().name, 1);
    else
      ++known->second;
  }
  std::ranges::stable_sort(counts, std::greater(), &std::pair<std::string_view, int>::second);
  std::string text;
  for (std::size_t i = 0; i < std::min(counts.size(), kMaxRows); ++i)
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", counts[i].second, counts[i].first);
  return counts.size() > kMaxRows ? text + ", ..." : text;
}

/// Elements of the variables that are not the optimiser's.
std::int64_t parameters_of(const std::vector<const Node*>& nodes) {
  std::int64_t count = 0;
  for (const Node* node : nodes)
    if (node->op().name == "variable" && node->phase() == Phase::forward)
      count += node->shape().num_elements();
  return count;
}

// --- Colours ----------------------------------------------------------------------------------

struct PhaseLook {
  const char* name;
  const char* fill;
  const char* line;
  const char* style;
};
constexpr PhaseLook kLooks[] = {
    {"forward", "#DCE9F7", "#3A6EA5", "filled,rounded"},
    {"gradient", "#FBE3CB", "#C46A1B", "filled,dashed"},
    {"update", "#DDF0D8", "#4B8B3B", "filled,bold"},
    {"computed again", "#E9E1F5", "#6B4FA0", "filled,dashed"},
};
const PhaseLook& look_of(Phase phase) { return kLooks[static_cast<std::size_t>(phase)]; }

constexpr const char* kDeviceColors[] = {"#444444", "#7B2D8B", "#B5121B", "#00797A",
                                         "#8A6D00", "#1F3FBF", "#C2185B", "#2E7D32"};

/// From white to red.
std::string heat_color(double share) {
  const auto cool = static_cast<int>(235 * (1 - std::clamp(share, 0.0, 1.0)));
  return fmt::format("#FF{0:02X}{0:02X}", cool + 20);
}

// --- The file ---------------------------------------------------------------------------------

class Writer {
 public:
  Writer(const Graph& graph, std::ostream& stream, const DotOptions& options)
      : stream_(stream), options_(options), drawing_(graph, options) {
    for (const DrawnBox& box : drawing_.boxes()) {
      const std::string device = device_of(box);
      if (!device.empty() &&
          std::find(devices_.begin(), devices_.end(), device) == devices_.end())
        devices_.push_back(device);
      total_seconds_ += seconds_of(box);
      longest_ = std::max(longest_, seconds_of(box));
    }
    std::sort(devices_.begin(), devices_.end());
  }

  void write() {
    stream_ << "digraph " << quote(options_.title.empty() ? "graph" : options_.title) << " {\n"
            << "  graph [rankdir=TB, newrank=true, compound=true, nodesep=0.25, ranksep=0.35,"
               " fontname=\"Helvetica\", labelloc=t, label=<"
            << legend() << ">" << haste() << "];\n"
            << "  node [shape=box, fontname=\"Helvetica\", fontsize=10, margin=\"0.08,0.04\"];\n"
            << "  edge [fontname=\"Helvetica\", fontsize=8, arrowsize=0.6];\n";
    write_clusters();
    for (const auto& [ends, edge] : drawing_.edges()) write_edge(ends.first, ends.second, edge);
    write_ranks();
    write_columns();
    stream_ << "}\n";
  }

 private:
  const DrawnBox& box(int index) const {
    return drawing_.boxes()[static_cast<std::size_t>(index)];
  }

  /// Beyond a few hundred arrows Graphviz would take minutes to make the best of them.
  const char* haste() const {
    const bool is_large = drawing_.edges().size() > kManyEdges;
    return is_large ? ", splines=line, nslimit=0.2, nslimit1=0.2, mclimit=0.02" : "";
  }

  std::string legend() const {
    std::string cells;
    for (const Phase phase : {Phase::forward, Phase::gradient, Phase::recompute, Phase::update})
      if (std::ranges::find(drawing_.boxes(), phase, &DrawnBox::phase) != drawing_.boxes().end())
        cells += fmt::format("<TD BGCOLOR=\"{}\" COLOR=\"{}\" BORDER=\"1\">{}</TD>",
                             look_of(phase).fill, look_of(phase).line, look_of(phase).name);
    cells += "<TD>dashed arrow: order only</TD>";
    if (std::ranges::any_of(drawing_.edges(),
                            [](const auto& e) { return e.second.to_next_round; }))
      cells += "<TD>bold arrow: into the next round</TD>";
    for (const std::string& device : devices_)
      cells += fmt::format("<TD COLOR=\"{}\" BORDER=\"2\">{}</TD>", device_color(device),
                           html(device));
    if (longest_ > 0)
      cells += fmt::format("<TD BGCOLOR=\"{}\" BORDER=\"1\">share of {}</TD>", heat_color(1),
                           milliseconds(total_seconds_));
    std::string title;
    if (!options_.title.empty())
      title = fmt::format("<TR><TD COLSPAN=\"16\"><FONT POINT-SIZE=\"18\">{}</FONT></TD></TR>",
                          html(options_.title));
    return fmt::format(
        "<TABLE BORDER=\"0\" CELLSPACING=\"6\" CELLPADDING=\"4\">{}<TR>{}</TR>"
        "</TABLE>",
        title, cells);
  }

  static std::string milliseconds(double seconds) {
    return fmt::format("{:.3g} ms", seconds * 1e3);
  }

  double seconds_of(const DrawnBox& drawn) const {
    double seconds = 0;
    for (const auto* nodes : {&drawn.nodes, &drawn.unlisted})
      for (const Node* node : *nodes)
        if (const auto found = options_.node_seconds.find(node);
            found != options_.node_seconds.end())
          seconds += found->second;
    return seconds;
  }
  std::string device_of(const DrawnBox& drawn) const {
    const Node* node = drawn.nodes.front();
    const auto found = options_.node_devices.find(node);
    return found == options_.node_devices.end() ? node->device() : found->second;
  }
  const char* device_color(const std::string& device) const {
    const auto at = std::find(devices_.begin(), devices_.end(), device) - devices_.begin();
    return kDeviceColors[static_cast<std::size_t>(at) % std::size(kDeviceColors)];
  }

  /// Boxes stand in nested clusters, one for each part of their scope. Sorted by scope, a cluster
  /// is one stretch of boxes.
  void write_clusters() {
    std::vector<int> order;
    for (std::size_t i = 0; i < drawing_.boxes().size(); ++i)
      order.push_back(static_cast<int>(i));
    std::ranges::stable_sort(
        order, {}, [&](int i) -> const auto& { return box(i).scope; });
    std::vector<std::string> open;
    for (const int index : order) {
      const std::vector<std::string>& scope = box(index).scope;
      std::size_t common = 0;
      while (common < std::min(open.size(), scope.size()) && open[common] == scope[common])
        ++common;
      for (; open.size() > common; open.pop_back()) stream_ << indent(open.size()) << "}\n";
      for (; open.size() < scope.size();) {
        open.push_back(scope[open.size()]);
        stream_ << indent(open.size()) << "subgraph "
                << quote(cluster_id(fmt::format("{}", fmt::join(open, "/")))) << " {\n"
                << indent(open.size() + 1) << "label=" << quote(open.back())
                << "; labeljust=l; fontsize=11; color=\"#999999\"; style=rounded;\n";
      }
      write_box(index, indent(open.size() + 1));
    }
    for (; !open.empty(); open.pop_back()) stream_ << indent(open.size()) << "}\n";
  }
  /// Unlike labels, ids must not be cut: two would become one.
  std::string cluster_id(const std::string& scope) {
    const std::size_t number = ++clusters_;
    return scope.size() < 100 ? "cluster " + scope : fmt::format("cluster {}", number);
  }
  static std::string indent(std::size_t depth) { return std::string(2 * depth, ' '); }

  void write_box(int index, const std::string& spaces) {
    const DrawnBox& drawn = box(index);
    const PhaseLook& look = look_of(drawn.phase);
    const std::string device = device_of(drawn);
    const double seconds = seconds_of(drawn);
    stream_ << spaces << 'n' << index << " [label=<" << label(drawn, seconds)
            << ">, shape=" << shape(drawn) << ", style=\"" << style(drawn) << "\", fillcolor=\""
            << (longest_ > 0 ? heat_color(seconds / longest_) : look.fill) << "\", color=\""
            << (device.empty() ? look.line : device_color(device)) << '"';
    if (!device.empty()) stream_ << ", penwidth=2";
    stream_ << ", tooltip=" << quote(tooltip(drawn)) << "];\n";
  }

  static const char* shape(const DrawnBox& drawn) {
    if (drawn.is_folded()) return "box";
    const Node& node = *drawn.nodes.front();
    if (node.op().name == "variable") return "cylinder, margin=\"0.08,0.1\"";
    if (node.op().name == "placeholder") return "invhouse";
    return node.num_outputs() == 0 ? "ellipse" : "box";
  }
  static std::string style(const DrawnBox& drawn) {
    // Rounded corners would make a cylinder or a house a box with rounded corners.
    return std::string_view(shape(drawn)) == "box" ? look_of(drawn.phase).style : "filled";
  }

  std::string label(const DrawnBox& drawn, double seconds) const {
    std::string time;
    if (seconds > 0)
      time =
          fmt::format("<BR/>{}, {:.1f} %", milliseconds(seconds), 100 * seconds / total_seconds_);
    const std::string title =
        fmt::format("<B>{}</B>{}", html(drawn.title),
                    drawn.copies > 1 ? fmt::format(" \u00D7 {}", drawn.copies) : std::string());
    std::string updated;
    if (drawn.updated_variables > 0 && !drawn.is_scope)
      updated = fmt::format("<BR/><FONT COLOR=\"{}\">{}</FONT>", look_of(Phase::update).line,
                            update_line(drawn));
    if (!drawn.is_folded()) {
      const Node& node = *drawn.nodes.front();
      std::string text = title;
      const std::string types = types_of(node);
      for (const std::string& line : {drawing_.expression(node), types})
        if (!line.empty() && line != drawn.title) text += "<BR/>" + html(line);
      return text + updated + time;
    }
    const char* what = drawn.phase == Phase::gradient    ? "gradient of "
                       : drawn.phase == Phase::recompute ? "again: "
                                                         : "";
    if (drawn.is_scope || drawn.nodes.size() > kMaxRows)
      return summary(drawn, what + title, time);
    std::string rows =
        fmt::format("<TR><TD COLSPAN=\"3\" ALIGN=\"LEFT\">{}{}{}</TD></TR>", what, title, time);
    for (const Node* node : drawn.nodes)
      rows += fmt::format(
          "<TR><TD ALIGN=\"LEFT\">{}</TD><TD ALIGN=\"LEFT\">{}</TD><TD ALIGN=\"LEFT\">{}</TD>"
          "</TR>",
          html(short_name(node->name())), html(drawing_.expression(*node)),
          html(types_of(*node)));
    return fmt::format("<TABLE BORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"2\">{}</TABLE>",
                       rows);
  }

  /// A box of many nodes: how many, what they do, what is made at the end.
  std::string summary(const DrawnBox& drawn, std::string text, const std::string& time) const {
    text += fmt::format("<BR/>{} node{}: {}", drawn.nodes.size(),
                        drawn.nodes.size() == 1 ? "" : "s", html(ops_of(drawn.nodes)));
    if (const std::int64_t parameters = parameters_of(drawn.nodes); parameters > 0)
      text += fmt::format("<BR/>{} parameters", parameters);
    if (drawn.updated_variables > 0)
      text += fmt::format("<BR/><FONT COLOR=\"{}\">{} variable{} updated</FONT>",
                          look_of(Phase::update).line, drawn.updated_variables,
                          drawn.updated_variables == 1 ? " is" : "s are");
    if (drawn.phase == Phase::update)
      text += fmt::format("<BR/>for {} variables", drawing_.updated_variables());
    else
      text += "<BR/>" + html(types_of(*drawn.nodes.back()));
    return text + time;
  }

  /// "update: 14 nodes; keeps first_moment, second_moment": of one variable.
  static std::string update_line(const DrawnBox& drawn) {
    std::vector<std::string_view> kept;
    std::size_t nodes = 0;
    for (const Node* node : drawn.unlisted) {
      if (node->phase() != Phase::update) continue;
      const bool is_variable = node->op().name == "variable";
      if (!is_variable) ++nodes;
      if (is_variable && std::ranges::find(kept, short_name(node->name())) == kept.end())
        kept.push_back(short_name(node->name()));
    }
    return fmt::format(
        "update: {} nodes{}{}", nodes / static_cast<std::size_t>(drawn.updated_variables),
        kept.empty() ? "" : "; keeps ", html(fmt::format("{}", fmt::join(kept, ", "))));
  }

  static std::string tooltip(const DrawnBox& drawn) {
    const Node& node = *drawn.nodes.front();
    return node.where().known() ? fmt::format("{} ({})", node.name(), to_string(node.where()))
                                : node.name();
  }

  /// In a folded picture only forward edges, and gradient edges the other way round, decide who
  /// stands above whom: gradients run up beside the forward nodes that run down.
  void write_edge(int from, int to, const DrawnEdge& edge) {
    const Phase phase = box(to).phase;
    const bool backward = drawing_.is_folded() && phase == Phase::gradient &&
                          box(from).beside >= 0 && box(to).beside >= 0;
    const bool down = !drawing_.is_folded() || is_order(to) ||
                      (phase == Phase::forward && box(from).phase == Phase::forward);
    const bool ranks =
        (down || backward) && !edge.to_next_round && box(from).column == box(to).column;
    const bool updates = phase == Phase::forward && box(from).phase == Phase::gradient;
    std::string attributes =
        fmt::format("color=\"{}\"", look_of(updates ? Phase::update : phase).line);
    if (edge.values.empty()) attributes += ", style=dashed";
    if (edge.to_next_round) attributes += ", style=bold";
    if (backward) attributes += ", dir=back";
    if (!ranks) attributes += ", constraint=false";
    // Graphviz cannot always rank an edge that has a label but no say in the ranks.
    if (const std::string shapes = shapes_on(edge); ranks && !shapes.empty())
      attributes += fmt::format(", label=<{}>", html(shapes));
    stream_ << "  n" << (backward ? to : from) << " -> n" << (backward ? from : to) << " ["
            << attributes << "];\n";
  }
  bool is_order(int index) const { return box(index).nodes.front()->num_outputs() == 0; }

  std::string shapes_on(const DrawnEdge& edge) const {
    std::vector<std::string> shapes;
    if (options_.shapes_on_edges)
      for (const auto& [node, index] : edge.values)
        shapes.push_back(node->shape(index).to_string());
    std::sort(shapes.begin(), shapes.end());
    shapes.erase(std::unique(shapes.begin(), shapes.end()), shapes.end());
    if (shapes.size() > kMaxTypes) shapes.resize(kMaxTypes), shapes.emplace_back("...");
    return fmt::format("{}", fmt::join(shapes, " "));
  }

  /// The columns from left to right, by arrows that nobody sees.
  void write_columns() {
    std::vector<int> first;
    for (std::size_t i = 0; i < drawing_.boxes().size(); ++i) {
      const DrawnBox& drawn = drawing_.boxes()[i];
      if (drawn.phase != Phase::forward || drawn.column < 0) continue;
      const auto at = static_cast<std::size_t>(drawn.column);
      if (first.size() <= at) first.resize(at + 1, -1);
      if (first[at] < 0) first[at] = static_cast<int>(i);
    }
    for (std::size_t i = 1; i < first.size(); ++i)
      if (first[i - 1] >= 0 && first[i] >= 0)
        stream_ << fmt::format("  {{rank=same; n{} -> n{} [style=invis]}}\n", first[i - 1],
                               first[i]);
  }

  void write_ranks() {
    for (std::size_t i = 0; i < drawing_.boxes().size(); ++i)
      if (const int beside = drawing_.boxes()[i].beside; beside >= 0)
        stream_ << "  {rank=same; n" << beside << "; n" << i << "}\n";
  }

  std::ostream& stream_;
  const DotOptions& options_;
  Drawing drawing_;
  std::vector<std::string> devices_;
  std::size_t clusters_ = 0;
  double total_seconds_ = 0;
  double longest_ = 0;
};

[[noreturn]] void fail(const std::string& path, int error, SourceLocation where) {
  throw DataError(fmt::format("cannot write '{}': {}", path, std::strerror(error)), where);
}

void require_fetches(const Graph& graph, const std::vector<Output>& fetches,
                     SourceLocation where) {
  for (const Output& fetch : fetches) {
    if (!fetch)
      throw BuildError(fmt::format("write_dot: fetch {} is empty", &fetch - fetches.data()),
                       where);
    if (&fetch.graph() != &graph)
      throw BuildError(fmt::format("write_dot: fetch '{}' is of another graph", fetch.name()),
                       where);
  }
}

}  // namespace

void write_dot(const Graph& graph, std::ostream& stream, const DotOptions& options,
               SourceLocation where) {
  require_fetches(graph, options.fetches, where);
  Writer(graph, stream, options).write();
}

void write_dot(const Graph& graph, const std::string& path, const DotOptions& options,
               SourceLocation where) {
  require_fetches(graph, options.fetches, where);
  std::error_code ignored;
  const bool special =
      std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored);
  const std::string written = special ? path : path + ".part";
  errno = 0;
  std::ofstream file(written);
  if (!file) fail(path, errno, where);
  try {
    write_dot(graph, file, options, where);
    file.close();
    if (!file || (!special && std::rename(written.c_str(), path.c_str()) != 0))
      fail(path, errno, where);
  } catch (...) {
    if (!special) std::filesystem::remove(written, ignored);
    throw;
  }
}

}  // namespace gradgraph

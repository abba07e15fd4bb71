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
#include "io/drawing.h"

namespace gradgraph {
namespace {

// --- Text -------------------------------------------------------------------------------------

/// The length of the UTF-8 sequence at the start of `text`, or 0 where it is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80               ? 1
                             : (byte(0) & 0xE0u) == 0xC0u ? 2
                             : (byte(0) & 0xF0u) == 0xE0u ? 3
                             : (byte(0) & 0xF8u) == 0xF0u ? 4
                                                          : 0;
  if (length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0u) != 0x80u) return 0;
  return length;
}

/// Calls `put` with each character; what cannot be shown becomes "?".
template <class Put>
void for_each_character(std::string_view text, const Put& put) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const bool shown = length > 1 || (length == 1 && text[0] >= ' ' && text[0] != '\x7F');
    put(shown ? text.substr(0, length) : std::string_view("?"));
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

std::string quote(std::string_view text) {
  std::string result = "\"";
  for_each_character(text, [&](std::string_view character) {
    if (character == "\"" || character == "\\") result += '\\';
    result += character;
  });
  return result + '"';
}

/// For labels in angle brackets.
std::string html(std::string_view text) {
  std::string result;
  for_each_character(text, [&](std::string_view character) {
    if (character == "&")
      result += "&amp;";
    else if (character == "<")
      result += "&lt;";
    else if (character == ">")
      result += "&gt;";
    else if (character == "\"")
      result += "&quot;";
    else
      result += character;
  });
  return result;
}

std::string types_of(const Node& node) {
  std::string text;
  for (int i = 0; i < node.num_outputs(); ++i)
    text += fmt::format("{}{}{}", i == 0 ? "" : ", ", node.dtype(i), node.shape(i));
  return text;
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
            << legend() << ">];\n"
            << "  node [shape=box, fontname=\"Helvetica\", fontsize=10, margin=\"0.08,0.04\"];\n"
            << "  edge [fontname=\"Helvetica\", fontsize=8, arrowsize=0.6];\n";
    write_clusters();
    for (const auto& [ends, edge] : drawing_.edges()) write_edge(ends.first, ends.second, edge);
    write_ranks();
    stream_ << "}\n";
  }

 private:
  const DrawnBox& box(int index) const {
    return drawing_.boxes()[static_cast<std::size_t>(index)];
  }

  std::string legend() const {
    std::string cells;
    for (const Phase phase : {Phase::forward, Phase::gradient, Phase::recompute, Phase::update})
      if (std::ranges::find(drawing_.boxes(), phase, &DrawnBox::phase) != drawing_.boxes().end())
        cells += fmt::format("<TD BGCOLOR=\"{}\" COLOR=\"{}\" BORDER=\"1\">{}</TD>",
                             look_of(phase).fill, look_of(phase).line, look_of(phase).name);
    cells += "<TD>dashed arrow: order only</TD>";
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
    for (const Node* node : drawn.nodes)
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
    const auto parts = [&](int i) { return split(box(i).scope); };
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      const auto in_a = parts(a), in_b = parts(b);
      return std::lexicographical_compare(in_a.begin(), in_a.end(), in_b.begin(), in_b.end());
    });
    std::vector<std::string_view> open;
    for (const int index : order) {
      const auto scope = parts(index);
      std::size_t common = 0;
      while (common < std::min(open.size(), scope.size()) && open[common] == scope[common])
        ++common;
      for (; open.size() > common; open.pop_back()) stream_ << indent(open.size()) << "}\n";
      for (; open.size() < scope.size();) {
        open.push_back(scope[open.size()]);
        stream_ << indent(open.size()) << "subgraph "
                << quote(fmt::format("cluster {}", fmt::join(open, "/"))) << " {\n"
                << indent(open.size() + 1) << "label=" << quote(open.back())
                << "; labeljust=l; fontsize=11; color=\"#999999\"; style=rounded;\n";
      }
      write_box(index, indent(open.size() + 1));
    }
    for (; !open.empty(); open.pop_back()) stream_ << indent(open.size()) << "}\n";
  }
  static std::vector<std::string_view> split(std::string_view scope) {
    std::vector<std::string_view> parts;
    while (!scope.empty()) {
      parts.push_back(scope.substr(0, scope.find('/')));
      scope.remove_prefix(std::min(scope.size(), parts.back().size() + 1));
    }
    return parts;
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
    if (!drawn.is_folded()) {
      const Node& node = *drawn.nodes.front();
      std::string text = fmt::format("<B>{}</B>", html(drawn.title));
      const std::string types = types_of(node);
      for (const std::string& line : {drawing_.expression(node), types})
        if (!line.empty() && line != drawn.title) text += "<BR/>" + html(line);
      return text + time;
    }
    const char* what = drawn.phase == Phase::gradient    ? "gradient of "
                       : drawn.phase == Phase::recompute ? "again: "
                       : drawn.beside >= 0               ? "update of "
                                                         : "";
    std::string rows = fmt::format("<TR><TD COLSPAN=\"3\" ALIGN=\"LEFT\">{}<B>{}</B>{}</TD></TR>",
                                   what, html(drawn.title), time);
    for (const Node* node : drawn.nodes)
      rows += fmt::format(
          "<TR><TD ALIGN=\"LEFT\">{}</TD><TD ALIGN=\"LEFT\">{}</TD><TD ALIGN=\"LEFT\">{}</TD>"
          "</TR>",
          html(short_name(node->name())), html(drawing_.expression(*node)),
          html(types_of(*node)));
    return fmt::format("<TABLE BORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"2\">{}</TABLE>",
                       rows);
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
    std::string attributes = fmt::format("color=\"{}\"", look_of(phase).line);
    if (edge.empty()) attributes += ", style=dashed";
    if (backward) attributes += ", dir=back";
    if (!down && !backward) attributes += ", constraint=false";
    // Graphviz cannot always rank an edge that has a label but no say in the ranks.
    if (const std::string shapes = shapes_on(edge); !shapes.empty())
      attributes += fmt::format(", {}=<{}>", down || backward ? "label" : "xlabel", html(shapes));
    stream_ << "  n" << (backward ? to : from) << " -> n" << (backward ? from : to) << " ["
            << attributes << "];\n";
  }
  bool is_order(int index) const { return box(index).nodes.front()->num_outputs() == 0; }

  std::string shapes_on(const DrawnEdge& edge) const {
    std::vector<std::string> shapes;
    if (options_.shapes_on_edges)
      for (const auto& [node, index] : edge) shapes.push_back(node->shape(index).to_string());
    std::sort(shapes.begin(), shapes.end());
    shapes.erase(std::unique(shapes.begin(), shapes.end()), shapes.end());
    return fmt::format("{}", fmt::join(shapes, " "));
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
  double total_seconds_ = 0;
  double longest_ = 0;
};

[[noreturn]] void fail(const std::string& path, int error) {
  throw DataError(fmt::format("cannot write '{}': {}", path, std::strerror(error)));
}

}  // namespace

void write_dot(const Graph& graph, std::ostream& stream, const DotOptions& options) {
  Writer(graph, stream, options).write();
}

void write_dot(const Graph& graph, const std::string& path, const DotOptions& options) {
  std::error_code ignored;
  const bool special =
      std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored);
  const std::string written = special ? path : path + ".part";
  errno = 0;
  std::ofstream file(written);
  if (!file) fail(path, errno);
  try {
    write_dot(graph, file, options);
    file.close();
    if (!file || (!special && std::rename(written.c_str(), path.c_str()) != 0)) fail(path, errno);
  } catch (...) {
    if (!special) std::filesystem::remove(written, ignored);
    throw;
  }
}

}  // namespace gradgraph

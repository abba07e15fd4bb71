#include "io/drawing/repetition.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>

#include "gradgraph/op.h"

namespace gradgraph {
namespace {

/// A round this short must come this often to be worth a note.
constexpr std::size_t kShortPeriod = 6, kLeastShortRounds = 3;
/// How many distances to the next nodes of one kind are tried for a period.
constexpr std::size_t kMaxCandidates = 16;

/// Constants by their type alone, everything else by value.
bool same_attribute(const Attribute& a, const Attribute& b) {
  return std::visit(
      [&]<class T>(const T& value) {
        const T* other = std::get_if<T>(&b);
        if constexpr (std::is_same_v<T, Tensor>)
          return other && value.dtype() == other->dtype() && value.shape() == other->shape();
        else
          return other && value == *other;
      },
      a);
}

bool same_types(const Node& a, const Node& b) {
  if (a.num_outputs() != b.num_outputs()) return false;
  for (int i = 0; i < a.num_outputs(); ++i)
    if (a.dtype(i) != b.dtype(i) || !(a.shape(i) == b.shape(i))) return false;
  return true;
}

bool same_kind(const Node& a, const Node& b) {
  const auto same_entry = [](const Attributes::Entry& x, const Attributes::Entry& y) {
    return x.first == y.first && same_attribute(x.second, y.second);
  };
  return &a.op() == &b.op() && a.num_inputs() == b.num_inputs() && same_types(a, b) &&
         std::equal(a.attributes().begin(), a.attributes().end(), b.attributes().begin(),
                    b.attributes().end(), same_entry);
}

class Finder {
 public:
  Finder(const std::vector<const Node*>& nodes,
         const std::function<bool(const Node&)>& is_ignored)
      : nodes_(nodes), is_ignored_(is_ignored), next_(nodes.size(), nodes.size()) {
    std::unordered_map<std::size_t, std::size_t> following;
    for (std::size_t i = nodes.size(); i-- > 0;) {
      place_.emplace(nodes[i], i);
      const auto [entry, is_new] = following.emplace(hash(*nodes[i]), i);
      if (!is_new) next_[i] = std::exchange(entry->second, i);
    }
  }

  std::vector<Repetition> find() const {
    std::vector<Repetition> found;
    for (std::size_t i = 0; i < nodes_.size();) {
      const Repetition best = longest_from(i);
      if (best.count > 1) found.push_back(best);
      i += best.count > 1 ? best.period * best.count : 1;
    }
    return found;
  }

 private:
  static std::size_t hash(const Node& node) {
    std::size_t value = std::hash<const void*>{}(&node.op());
    for (int i = 0; i < node.num_outputs(); ++i)
      for (const std::int64_t dim : node.shape(i))
        value = value * 1000003 + static_cast<std::size_t>(dim);
    return value;
  }

  /// The repetition from `begin` on that leaves out most nodes; of one round where there is none.
  Repetition longest_from(std::size_t begin) const {
    Repetition best{begin, 0, 1};
    std::size_t left_out = 0, tried = 0;
    for (std::size_t at = next_[begin]; at < nodes_.size() && tried < kMaxCandidates;
         at = next_[at], ++tried) {
      const std::size_t period = at - begin;
      const std::size_t count = count_rounds(begin, period);
      if (count < (period < kShortPeriod ? kLeastShortRounds : 2)) continue;
      if ((count - 1) * period > left_out) {
        left_out = (count - 1) * period;
        best = {begin, period, count};
      }
    }
    return aligned(best);
  }

  std::size_t count_rounds(std::size_t begin, std::size_t period) const {
    std::size_t length = 0;
    while (begin + length + period < nodes_.size() && corresponds(begin, length, period))
      ++length;
    return 1 + length / period;
  }

  /// What comes before a loop may look like its end, so that all rounds seem to begin too early:
  /// moved to where a round is a scope of the user's, if no round is lost.
  Repetition aligned(Repetition found) const {
    std::size_t deepest = common_scope(found.begin, found.period);
    const std::size_t begin = found.begin;
    for (std::size_t shift = 1; found.count > 1 && shift < found.period; ++shift) {
      if (begin + shift + found.period * found.count > nodes_.size()) break;
      const std::size_t depth = common_scope(begin + shift, found.period);
      if (depth <= deepest || count_rounds(begin + shift, found.period) < found.count) continue;
      deepest = depth;
      found.begin = begin + shift;
    }
    return found;
  }

  /// The length of the scope that all nodes of a round are in.
  std::size_t common_scope(std::size_t begin, std::size_t period) const {
    const std::string_view first = nodes_[begin]->name();
    std::size_t length = first.rfind('/') + 1;  // npos + 1 is 0
    for (std::size_t i = begin + 1; i < begin + period && length > 0; ++i)
      while (length > 0 && nodes_[i]->name().compare(0, length, first, 0, length) != 0)
        length = length < 2 ? 0 : first.rfind('/', length - 2) + 1;
    return length;
  }

  /// Whether the node `index` places after `begin` is like the one a period later.
  bool corresponds(std::size_t begin, std::size_t index, std::size_t period) const {
    const Node& a = *nodes_[begin + index];
    const Node& b = *nodes_[begin + index + period];
    if (!same_kind(a, b)) return false;
    for (int i = 0; i < a.num_inputs(); ++i)
      if (!reads_alike(a.input(i), b.input(i), period, begin,
                       index < period ? begin + period : begin))
        return false;
    return true;
  }
  /// `end` is where nodes end that a round may read in place of what the round before it reads.
  bool reads_alike(const Output& a, const Output& b, std::size_t period, std::size_t begin,
                   std::size_t end) const {
    if (a == b) return true;
    if (a.index() != b.index()) return false;
    if (is_ignored_(a.node()) && is_ignored_(b.node())) return same_types(a.node(), b.node());
    const auto from = place_.find(&a.node()), to = place_.find(&b.node());
    if (from == place_.end() || to == place_.end()) return false;
    if (to->second == from->second + period) return true;
    // The first round reads from before it what the others read in their previous one.
    return from->second < begin && to->second < end;
  }

  const std::vector<const Node*>& nodes_;
  const std::function<bool(const Node&)>& is_ignored_;
  std::unordered_map<const Node*, std::size_t> place_;
  std::vector<std::size_t> next_;  ///< the next node that may be of the same kind
};

}  // namespace

std::vector<Repetition> find_repetitions(const std::vector<const Node*>& nodes,
                                         const std::function<bool(const Node&)>& is_ignored) {
  return Finder(nodes, is_ignored).find();
}

}  // namespace gradgraph

#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace gradgraph {

/// The names that are taken in a graph, by nodes and by scopes. Graphs of millions of nodes, all
/// with names of their own, should touch memory once per look-up: the hashes stand in the table.
class NameTable {
 public:
  struct Entry {
    std::uint32_t hash = 0;
    std::int32_t last_suffix = 0;       ///< "mul_3" was the last name made of "mul"
    const std::string* name = nullptr;  ///< null where the table is empty
    std::int32_t node = kNone;          ///< its id
    bool is_scope = false;

    bool is_taken() const { return node != kNone || is_scope || last_suffix > 0; }
  };
  static constexpr std::int32_t kNone = -1;

  /// Null for a name that was never entered.
  Entry* find(std::string_view name);
  /// The entry of `name` if that is not taken, else of the first free one of name_1, name_2, ...
  /// `name` becomes the one that was chosen. Entries move when others are claimed.
  Entry& claim(std::string& name);
  /// Gives back a name that was claimed. Once all that was claimed after some point is given
  /// back, names are chosen as they were then.
  void release(std::string_view name);
  /// A copy that stays where it is; the name is not entered.
  const std::string& keep(const std::string& name) { return names_.emplace_back(name); }

 private:
  Entry& slot_of(std::string_view name, std::uint32_t hash);
  /// The entry of `name`, made when there is none.
  Entry& enter(std::string_view name);
  void grow();

  std::vector<Entry> entries_{64};  // always a power of two, and some are empty
  std::size_t used_ = 0;
  std::deque<std::string> names_;
};

}  // namespace gradgraph

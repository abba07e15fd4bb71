#include "graph/name_table.h"

#include <charconv>
#include <functional>
#include <utility>

namespace gradgraph {
namespace {

std::uint32_t hash_of(std::string_view name) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(name));
}

void append_number(std::string& text, std::int32_t number) {
  char digits[12];
  text.append(digits, std::to_chars(digits, digits + sizeof(digits), number).ptr);
}

}  // namespace

NameTable::Entry& NameTable::slot_of(std::string_view name, std::uint32_t hash) {
  const std::size_t mask = entries_.size() - 1;
  for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
    Entry& entry = entries_[at];
    if (!entry.name || (entry.hash == hash && *entry.name == name)) return entry;
  }
}

NameTable::Entry* NameTable::find(std::string_view name) {
  Entry& entry = slot_of(name, hash_of(name));
  return entry.name ? &entry : nullptr;
}

NameTable::Entry& NameTable::enter(std::string_view name) {
  const std::uint32_t hash = hash_of(name);
  Entry* entry = &slot_of(name, hash);
  if (entry->name) return *entry;
  if (++used_ * 4 > entries_.size() * 3) {
    grow();
    entry = &slot_of(name, hash);
  }
  entry->hash = hash;
  entry->name = &names_.emplace_back(name);
  return *entry;
}

NameTable::Entry& NameTable::claim(std::string& name) {
  Entry& first = enter(name);
  if (!first.is_taken()) return first;
  const std::size_t length = name.size();
  while (true) {
    name.resize(length);
    name += '_';
    append_number(name, ++first.last_suffix);
    // An entry that is new, for which others may have moved, is not taken.
    if (Entry& entry = enter(name); !entry.is_taken()) return entry;
  }
}

void NameTable::release(std::string_view name) {
  Entry* entry = find(name);
  if (!entry) return;
  entry->node = kNone;
  entry->is_scope = false;
  // "mul_3" was the last of "mul": the next one has its number again.
  const std::size_t end = name.find_last_not_of("0123456789");
  if (end == std::string_view::npos || name[end] != '_' || end + 1 == name.size()) return;
  std::string numbered(name.substr(0, end));
  Entry* base = find(numbered);
  while (base && base->last_suffix > 0) {
    numbered.resize(end + 1, '_');
    append_number(numbered, base->last_suffix);
    if (const Entry* last = find(numbered); last && last->is_taken()) return;
    --base->last_suffix;
  }
}

void NameTable::grow() {
  std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(entries_.size() * 2));
  const std::size_t mask = entries_.size() - 1;
  for (const Entry& entry : old) {
    if (!entry.name) continue;
    std::size_t at = entry.hash & mask;
    while (entries_[at].name) at = (at + 1) & mask;
    entries_[at] = entry;
  }
}

}  // namespace gradgraph

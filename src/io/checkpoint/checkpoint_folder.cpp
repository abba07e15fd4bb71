#include "io/checkpoint/checkpoint_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <string_view>

#include "core/text.h"
#include "io/files/output_file.h"

namespace gradgraph {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
// Of folders on their way in, and out; `put_right` knows what to do with them.
constexpr std::string_view kUnfinished = ".unfinished-", kReplaced = ".replaced-",
                           kRemoved = ".removed-";

std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  std::int64_t step = 0;
  const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (code != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return step;
}

/// "step-00000120" beside others, with a prefix of its own.
fs::path marked(const fs::path& folder, std::string_view prefix) {
  return folder.parent_path() / std::string(prefix).append(folder.filename().string());
}

void rename_folder(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    fail_system(from, fmt::format("cannot be renamed to '{}'", to.filename().string()), errno);
}

void remove_tree(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) fail_system(folder, "cannot be removed", error.value());
}

/// Whatever `body` throws of the file system, as a DataError.
template <class Body>
void with_errors(const fs::path& folder, const Body& body) {
  try {
    body();
  } catch (const fs::filesystem_error& error) {
    fail_system(folder, "cannot be read", error.code().value());
  }
}

}  // namespace

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

void write_folder(const fs::path& place, const std::function<void(const fs::path&)>& write) {
  const fs::path unfinished = marked(place, kUnfinished), replaced = marked(place, kReplaced);
  with_errors(place.parent_path(), [&] {
    remove_tree(unfinished);
    std::error_code error;
    if (!fs::create_directory(unfinished, error))
      fail_system(unfinished, "cannot be made", error.value());
    // One of the same step: of a training that was taken back, or damaged.
    const bool replaces = fs::exists(place);
    bool is_in_place = false;
    try {
      write(unfinished);
      if (replaces) remove_tree(replaced), rename_folder(place, replaced);
      rename_folder(unfinished, place);
      is_in_place = true;
      synchronize_folder(place.parent_path());
    } catch (...) {
      if (is_in_place) fs::rename(place, unfinished, error);
      fs::remove_all(unfinished, error);
      if (replaces && !fs::exists(place, error)) fs::rename(replaced, place, error);
      throw;
    }
    if (replaces) remove_tree(replaced);
  });
}

CheckpointFolder::CheckpointFolder(const CheckpointOptions& options) : options_(options) {
  std::error_code error;
  fs::create_directories(options.directory, error);
  if (error) fail_system(options.directory, "cannot be made", error.value());
  lock();
  try {
    with_errors(options.directory, [&] {
      put_right();
      read_entries();
    });
  } catch (...) {
    close(lock_);
    throw;
  }
}

CheckpointFolder::~CheckpointFolder() { close(lock_); }

void CheckpointFolder::lock() {
  const fs::path path = options_.directory / ".lock";
  lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) fail_system(options_.directory, "cannot be written to", errno);
  std::array<char, 32> text{};
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    const ssize_t size = pread(lock_, text.data(), text.size(), 0);
    close(lock_);
    if (code != EWOULDBLOCK) fail_system(path, "cannot be locked", code);
    throw DataError(fmt::format(
        "{}: process {} has it; two trainings cannot write to one folder",
        options_.directory.string(),
        size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : "(unknown)"));
  }
  // A word for whoever comes second; on a full disk there is none.
  const std::string process = std::to_string(getpid());
  if (ftruncate(lock_, 0) == 0 && pwrite(lock_, process.data(), process.size(), 0) < 0) return;
}

void CheckpointFolder::put_right() {
  std::vector<fs::path> marked_ones;
  for (const auto& entry : fs::directory_iterator(options_.directory)) {
    const std::string name = entry.path().filename().string();
    for (const std::string_view prefix : {kUnfinished, kReplaced, kRemoved})
      if (name.starts_with(prefix) && step_of(name.substr(prefix.size())))
        marked_ones.push_back(entry.path());
  }
  for (const fs::path& path : marked_ones) {
    const std::string name = path.filename().string();
    const fs::path place = options_.directory / name.substr(name.find('-') + 1);
    // Killed between the two renames of `add`.
    if (name.starts_with(kReplaced) && !fs::exists(place))
      rename_folder(path, place);
    else
      remove_tree(path);
  }
}

void CheckpointFolder::read_entries() {
  for (const auto& item : fs::directory_iterator(options_.directory)) {
    const auto step = step_of(item.path().filename().string());
    if (!step) continue;
    FolderEntry entry{.folder = item.path(), .step = *step};
    try {
      const Manifest manifest = read_manifest(entry.folder);
      if (manifest.step != *step)
        throw DataError(fmt::format("{}: its manifest is that of step {}", entry.folder.string(),
                                    manifest.step));
      entry.number = manifest.number;
      entry.metric = metric_of(manifest);
    } catch (const LaterFormat& error) {
      entry.fault = error.what(), entry.is_later = true;
    } catch (const DataError& error) {
      entry.fault = error.what();
    }
    entries_.push_back(std::move(entry));
  }
  sort_entries();
}

void CheckpointFolder::sort_entries() {
  std::ranges::sort(entries_, std::greater<>(),
                    [](const FolderEntry& entry) { return std::pair(entry.number, entry.step); });
}

std::optional<double> CheckpointFolder::metric_of(const Manifest& manifest) const {
  const auto found = manifest.progress.metrics.find(options_.best);
  if (options_.best.empty() || found == manifest.progress.metrics.end() ||
      !std::isfinite(found->second))
    return std::nullopt;
  return found->second;
}

const FolderEntry* CheckpointFolder::latest() const {
  return entries_.empty() || !entries_.front().fault.empty() ? nullptr : &entries_.front();
}

const FolderEntry* CheckpointFolder::best() const {
  const FolderEntry* best = nullptr;
  // From the oldest on: of equal ones the first.
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    if (!entry->fault.empty() || !entry->metric) continue;
    if (!best || (options_.higher_is_better ? *entry->metric > *best->metric
                                            : *entry->metric < *best->metric))
      best = &*entry;
  }
  return best;
}

void CheckpointFolder::mark_damaged(const fs::path& folder, const std::string& fault) {
  for (FolderEntry& entry : entries_)
    if (entry.folder == folder) entry.fault = fault, entry.number = 0;
  sort_entries();
}

void CheckpointFolder::add(Snapshot& snapshot) {
  Manifest& manifest = snapshot.manifest;
  manifest.number = 1;
  for (const FolderEntry& entry : entries_)
    manifest.number = std::max(manifest.number, entry.number + 1);
  const fs::path place = options_.directory / checkpoint_name(manifest.step);
  write_folder(place, [&](const fs::path& folder) { write_files(folder, snapshot); });
  std::erase_if(entries_, [&](const FolderEntry& entry) { return entry.folder == place; });
  entries_.push_back({.folder = place,
                      .number = manifest.number,
                      .step = manifest.step,
                      .metric = metric_of(manifest),
                      .fault = {}});
  sort_entries();
  remove_old();
}

void CheckpointFolder::remove(const fs::path& folder) {
  // What is half removed must not look like a checkpoint.
  const fs::path removed = marked(folder, kRemoved);
  remove_tree(removed);
  rename_folder(folder, removed);
  remove_tree(removed);
}

void CheckpointFolder::remove_old() {
  const FolderEntry* best_one = best();
  const fs::path kept = best_one ? best_one->folder : fs::path();
  int newer = 0;
  std::vector<fs::path> old;
  for (const FolderEntry& entry : entries_) {
    if (entry.is_later || (entry.fault.empty() && newer++ < options_.keep)) continue;
    if (entry.folder != kept) old.push_back(entry.folder);
  }
  for (const fs::path& folder : old) {
    remove(folder);
    std::erase_if(entries_, [&](const FolderEntry& entry) { return entry.folder == folder; });
  }
}

}  // namespace gradgraph

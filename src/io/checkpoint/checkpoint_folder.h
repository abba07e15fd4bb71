#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint/checkpoint_files.h"

namespace gradgraph {

/// "step-00000120".
std::string checkpoint_name(std::int64_t step);
/// Makes the folder `place` of what `write` puts into another one beside it: all of it, or, where
/// that throws, nothing. What is there before is replaced. Throws DataError.
void write_folder(const std::filesystem::path& place,
                  const std::function<void(const std::filesystem::path&)>& write);

/// A checkpoint that is in the folder.
struct FolderEntry {
  std::filesystem::path folder;
  std::int64_t number = 0;  ///< Manifest::number; 0 for one that is damaged
  std::int64_t step = 0;    ///< by its name where it is damaged
  std::optional<double> metric;
  std::string fault;  ///< why it is damaged, or of a later version
  bool is_later = false;
};

/// A folder of checkpoints that nobody else writes to. What a process that was killed left half
/// done is put right when it is opened.
class CheckpointFolder {
 public:
  /// Throws as Checkpoints' constructor.
  explicit CheckpointFolder(const CheckpointOptions& options);
  CheckpointFolder(const CheckpointFolder&) = delete;
  CheckpointFolder& operator=(const CheckpointFolder&) = delete;
  ~CheckpointFolder();

  /// The newest first, damaged ones last.
  const std::vector<FolderEntry>& entries() const { return entries_; }
  const FolderEntry* latest() const;
  /// By the metric that is asked for.
  const FolderEntry* best() const;

  /// Writes a checkpoint as the newest, all or nothing, and then removes those that are not to be
  /// kept. Throws DataError.
  void add(Snapshot& snapshot);
  void mark_damaged(const std::filesystem::path& folder, const std::string& fault);

 private:
  void lock();
  void put_right();
  void read_entries();
  void sort_entries();
  std::optional<double> metric_of(const Manifest& manifest) const;
  void remove(const std::filesystem::path& folder);
  void remove_old();

  const CheckpointOptions& options_;
  std::vector<FolderEntry> entries_;
  int lock_ = -1;
};

}  // namespace gradgraph

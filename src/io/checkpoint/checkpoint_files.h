#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "gradgraph/weights.h"
#include "io/checkpoint/manifest.h"

namespace gradgraph {

std::vector<SavedVariable> describe_variables(const std::vector<Output>& variables);

/// What is written: a session at one moment.
struct Snapshot {
  Manifest manifest;  ///< but for what the files give
  std::vector<NamedTensor> values;
};

/// Writes the files of a checkpoint into a folder that is there, and brings them to the disk.
/// Throws DataError.
void write_files(const std::filesystem::path& folder, Snapshot& snapshot);

/// Whether the folder looks like a checkpoint: it has a manifest.
bool is_checkpoint(const std::filesystem::path& folder);
/// Throws DataError, LaterFormat.
Manifest read_manifest(const std::filesystem::path& folder);

/// Checks all checksums. Throws DataError that says what is damaged.
void verify_files(const std::filesystem::path& folder, const Manifest& manifest);

/// Gives the session what is in the folder, all of which was verified. Throws DataError with all
/// differences where the graph is another; the session is then as it was.
void load_files(const std::filesystem::path& folder, const Manifest& manifest, Session& session,
                Graph& graph, SourceLocation where);

}  // namespace gradgraph

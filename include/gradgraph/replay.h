#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/named_tensor.h"
#include "gradgraph/session.h"

/// A step that went wrong, kept in a folder, and run again from there.
namespace gradgraph GRADGRAPH_API {

/// What a bundle's folder tells of its step. Variables are in it as in a checkpoint.
struct Bundle {
  std::string program;                 ///< by its file's name
  std::vector<std::string> arguments;  ///< that it was started with
  std::string error;                   ///< what the NumericsError said
  std::int64_t step = 0;               ///< Session::step
  std::uint64_t seed = 0;
  Precision precision = Precision::fp32;
  std::vector<NamedTensor> feeds;
  std::vector<std::string> fetches;  ///< names; none where only initial values were computed
};

/// Keeps the run that `error` stopped, with the session's variables, which are those from before
/// it, in a folder "step-00000041" of `directory`: all of it, or nothing. One of the same step is
/// replaced. Gives the folder. Throws DataError where it cannot be written.
///
///     try {
///       step(x, y);
///     } catch (const gg::NumericsError& error) {
///       gg::save_bundle(session, graph, error, "nan");
///       throw;
///     }
std::filesystem::path save_bundle(Session& session, Graph& graph, const NumericsError& error,
                                  const std::filesystem::path& directory,
                                  SourceLocation where = SourceLocation::current());

/// Reads what `save_bundle` wrote. Throws DataError where it is damaged.
Bundle read_bundle(const std::filesystem::path& folder,
                   SourceLocation where = SourceLocation::current());

/// Runs a bundle's step again: in a session of its own, of `options` but for seed, precision and
/// checks, which are the bundle's. Throws the NumericsError that comes up again; returns where
/// there is none now. Where the graph lacks variables, feeds or fetches of the bundle, or where
/// that is damaged, DataError says so.
void replay(Graph& graph, const std::filesystem::path& folder, SessionOptions options = {},
            SourceLocation where = SourceLocation::current());

}  // namespace gradgraph

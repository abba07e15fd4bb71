#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/threads.h"
#include "temporary_directory.h"

/// How many threads there are where nobody says: by the quota of control groups.
namespace gradgraph {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

TEST_CASE("threads: a quota of version 2, of the group and of those above it") {
  const tests::TemporaryDirectory folder;
  const fs::path groups = folder / "groups", membership = folder / "membership";
  write(membership, "0::/service/job\n");
  CHECK(processor_quota(groups, membership) == 0);
  write(groups / "service/job/cpu.max", "max 100000\n");
  CHECK(processor_quota(groups, membership) == 0);
  write(groups / "service/cpu.max", "250000 100000\n");
  CHECK(processor_quota(groups, membership) == 2.5);
  write(groups / "service/job/cpu.max", "50000 100000\n");
  CHECK(processor_quota(groups, membership) == 0.5);
  write(groups / "service/job/cpu.max", "400000 100000\n");
  CHECK(processor_quota(groups, membership) == 2.5);
}

TEST_CASE("threads: a container's own root, whatever path the host calls it by") {
  const tests::TemporaryDirectory folder;
  write(folder / "membership", "0::/../host/path\n");
  write(folder / "groups/cpu.max", "150000 100000\n");
  CHECK(processor_quota(folder / "groups", folder / "membership") == 1.5);
}

TEST_CASE("threads: a quota of version 1") {
  const tests::TemporaryDirectory folder;
  const fs::path group = folder / "groups/cpu/app";
  write(folder / "membership", "5:memory:/app\n4:cpu,cpuacct:/app\n3:cpuset:/other\n");
  write(group / "cpu.cfs_quota_us", "-1\n");
  write(group / "cpu.cfs_period_us", "100000\n");
  CHECK(processor_quota(folder / "groups", folder / "membership") == 0);
  write(group / "cpu.cfs_quota_us", "300000\n");
  CHECK(processor_quota(folder / "groups", folder / "membership") == 3);
}

TEST_CASE("threads: files that are missing or strange are no limit") {
  const tests::TemporaryDirectory folder;
  CHECK(processor_quota(folder / "none", folder / "none") == 0);
  write(folder / "membership", "0::/\nnonsense\n:\n");
  write(folder / "groups/cpu.max", "a b\n");
  CHECK(processor_quota(folder / "groups", folder / "membership") == 0);
  write(folder / "groups/cpu.max", "100000 0\n");
  CHECK(processor_quota(folder / "groups", folder / "membership") == 0);
  CHECK(thread_count(0) >= 1);
  CHECK(thread_count(3) == 3);
}

}  // namespace
}  // namespace gradgraph

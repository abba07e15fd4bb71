#pragma once

#include <chrono>
#include <cstdint>

namespace gradgraph::training {

/// A line on stderr, when that is a terminal, which says how far the epoch is:
/// epoch 2/20 [==========>         ]  52%  84210 samples/s, 0:03 left
class Progress {
 public:
  Progress(bool wanted, std::int64_t samples_per_epoch);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows it at most ten times a second; `samples_done` are of the running epoch.
  void show(std::int64_t epoch, std::int64_t epochs, std::int64_t samples_done);
  /// Makes room for other output.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  bool wanted_;
  bool shown_ = false;
  std::int64_t samples_per_epoch_;
  std::int64_t epoch_ = 0, first_samples_ = 0;
  Clock::time_point epoch_start_, last_shown_;
};

}  // namespace gradgraph::training

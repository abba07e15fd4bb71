#include "training/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "core/text.h"

namespace gradgraph::training {

Progress::Progress(bool wanted, std::int64_t samples_per_epoch)
    : wanted_(wanted && isatty(STDERR_FILENO) == 1), samples_per_epoch_(samples_per_epoch) {}

void Progress::show(std::int64_t epoch, std::int64_t epochs, std::int64_t samples_done) {
  if (!wanted_) return;
  const auto now = Clock::now();
  if (epoch != epoch_) {
    // From the epoch's first batch on: the time before it belongs to the validation data.
    epoch_ = epoch;
    first_samples_ = samples_done;
    epoch_start_ = last_shown_ = now;
    return;
  }
  if (now - last_shown_ < std::chrono::milliseconds(100)) return;
  last_shown_ = now;
  const std::chrono::duration<double> passed = now - epoch_start_;
  const double rate = static_cast<double>(samples_done - first_samples_) / passed.count();
  const double share =
      static_cast<double>(samples_done) / static_cast<double>(samples_per_epoch_);
  const auto left =
      static_cast<std::int64_t>(static_cast<double>(samples_per_epoch_ - samples_done) / rate);
  constexpr std::size_t kWidth = 30;
  const auto filled = std::min(kWidth, static_cast<std::size_t>(share * double{kWidth}));
  std::string bar(filled, '=');
  if (filled < kWidth) bar += '>';
  bar.resize(kWidth, ' ');
  const std::string line =
      fmt::format("\r\033[Kepoch {}/{} [{}] {:3.0f}%  {:.0f} samples/s, {}:{:02} left", epoch,
                  epochs, bar, 100 * share, rate, left / 60, left % 60);
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (!shown_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace gradgraph::training

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "gradgraph/tensor.h"

namespace gradgraph GRADGRAPH_API {
namespace data {

/// Reads an IDX file, plain or gzip: uint8, int32, float32 and float64 elements. Every header
/// field is checked against the file's size. Throws DataError with path and fault.
Tensor read_idx(const std::filesystem::path& path);

/// Samples and their class numbers, first axis alike.
struct Dataset {
  Tensor images;  ///< float32 [N,28,28,1] in [0,1] for MNIST
  Tensor labels;  ///< int64 [N]
  std::int64_t size() const { return images ? images.shape()[0] : 0; }
  /// The first `limit` samples; all of them when `limit` is 0.
  Dataset first(std::int64_t limit) const;
};

struct Mnist {
  Dataset train, test;
  std::filesystem::path directory;
  std::string source;  ///< "--data", "MNIST_DIR", "data/mnist", ...
};
/// Reads the four MNIST files, gzip or plain, from `directory`. Throws DataError when one is
/// missing, broken, or holds a label outside 0..9.
Mnist read_mnist(const std::filesystem::path& directory);
/// Searches `directory` (when not empty), $MNIST_DIR, data/mnist, the cache folder that `run`
/// downloads to, and Debian's Fashion-MNIST, in this order. A directory that was named but does
/// not hold the files is an error, not a reason to go on.
Mnist find_mnist(const std::filesystem::path& directory = {});

struct Batch {
  Tensor images, labels;
  std::int64_t size() const { return labels.num_elements(); }
};

struct BatchOptions {
  bool shuffle = true;
  std::uint64_t seed = 0;
  /// Shuffles differ from epoch to epoch, and repeat with the seed.
  std::int64_t epoch = 0;
  /// Batches made ahead on a second thread; 0 makes them on the caller's.
  int prefetch = 2;
};

/// One pass over `dataset` in batches; the last may be smaller. Memory is reused: a Batch is
/// valid until the next one is asked for. Throws BuildError for a batch size below 1.
class Batches {
 public:
  Batches(Dataset dataset, std::int64_t batch_size, BatchOptions options = {});
  ~Batches();
  Batches(Batches&&) noexcept;

  std::int64_t size() const;  ///< number of batches
  /// Starts another pass, shuffled for `epoch`, with the same buffers.
  void restart(std::int64_t epoch);

  class Iterator {
   public:
    const Batch& operator*() const { return *batch_; }
    Iterator& operator++() {
      batch_ = batches_->next();
      return *this;
    }
    bool operator!=(std::nullptr_t) const { return batch_ != nullptr; }

   private:
    friend class Batches;
    explicit Iterator(Batches* batches) : batches_(batches), batch_(batches->next()) {}
    Batches* batches_;
    const Batch* batch_;
  };
  Iterator begin() { return Iterator(this); }
  std::nullptr_t end() const { return nullptr; }
  /// The next batch, or null after the last.
  const Batch* next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Batches batches(const Dataset& dataset, std::int64_t batch_size, BatchOptions options = {});

}  // namespace data
}  // namespace GRADGRAPH_API

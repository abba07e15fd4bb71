#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/source_location.h"
#include "gradgraph/tensor.h"

namespace gradgraph GRADGRAPH_API {
namespace data {

/// Reads an IDX file, plain or gzip: uint8, int32, float32 and float64 elements. Every header
/// field is checked against the file's size. Throws DataError with path and fault.
Tensor read_idx(const std::filesystem::path& path);

/// Samples and their class numbers, first axis alike.
struct Dataset {
  /// [N,...]; for MNIST uint8 [N,28,28,1], as stored: a quarter of float32's memory. Batches hand
  /// out uint8 images as float32 in [0,1].
  Tensor images;
  Tensor labels;  ///< [N]; int64 for MNIST
  std::int64_t size() const { return images ? images.shape()[0] : 0; }
  /// The first `limit` samples, sharing memory; all of them when `limit` is 0 or more than there
  /// are. Throws BuildError for a negative limit.
  Dataset first(std::int64_t limit, SourceLocation where = SourceLocation::current()) const;
};

struct Mnist {
  Dataset train, test;
  std::filesystem::path directory;
  std::string source;  ///< in words: "MNIST in data/mnist"
};
/// Reads the four MNIST files, gzip or plain, from `directory`. Throws DataError when one is
/// missing, broken, or holds a label outside 0..9.
Mnist read_mnist(const std::filesystem::path& directory);
/// The same from `directory` when it is not empty, else $MNIST_DIR when it is set, else
/// data/mnist when it holds some of the files, else the first that holds all of them: the folder
/// that `run` downloads to (${XDG_CACHE_HOME:-~/.cache}/gradgraph/mnist), Debian's Fashion-MNIST.
/// Throws DataError: what was named but is not there or not whole is an error, not a reason to
/// go on.
Mnist find_mnist(const std::filesystem::path& directory = {});

struct Batch {
  Tensor images;  ///< float32 x / 255 where the data set has uint8 x, else as in the data set
  Tensor labels;
  /// Samples: the labels' first axis.
  std::int64_t size() const { return labels.shape().rank() > 0 ? labels.shape()[0] : 0; }
};

struct BatchOptions {
  bool shuffle = true;
  std::uint64_t seed = 0;
  /// Shuffles differ from epoch to epoch, and repeat with the seed.
  std::int64_t epoch = 0;
  /// Batches made ahead on a second thread, where it finds a core without work; 0 makes all on
  /// the caller's, which also makes those that are not there when it asks.
  int prefetch = 2;
  /// Threads that fill such a batch, up to 4096, 0 for all cores: as many as the session has,
  /// whose pool they are of. Batches do not depend on it.
  int threads = 1;
  /// Applied to every batch on the thread that makes it: augmentation, normalisation. What it
  /// throws, `next` throws.
  std::function<void(Batch&)> transform = {};
};

/// One pass over `dataset` in batches; the last may be smaller. Memory is reused: a Batch is
/// valid until the next one is asked for, and no batch after the first few allocates.
/// Throws BuildError for a batch size below 1, for images and labels that do not match and for
/// options out of range, RunError where there is no memory for the buffers.
///
/// Shuffling is Fisher and Yates' with SplitMix64 (Steele et al. 2014), so that an order depends
/// on seed, epoch and number of samples alone, on every machine.
class Batches {
 public:
  Batches(Dataset dataset, std::int64_t batch_size, BatchOptions options = {},
          SourceLocation where = SourceLocation::current());
  ~Batches();
  Batches(Batches&&) noexcept;
  Batches& operator=(Batches&&) noexcept;

  std::int64_t size() const;  ///< number of batches
  /// Starts another pass, shuffled for `epoch`, with the same buffers; the current one may be
  /// unfinished.
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

/// The same, for a `for` loop: `for (const auto& batch : gg::data::batches(mnist.train, 128))`.
Batches batches(const Dataset& dataset, std::int64_t batch_size, BatchOptions options = {},
                SourceLocation where = SourceLocation::current());

/// The numbers of a data set's samples in the order in which Batches with this seed and epoch
/// hands them out: int64 [size].
Tensor shuffled_samples(std::int64_t size, std::uint64_t seed, std::int64_t epoch,
                        SourceLocation where = SourceLocation::current());

/// What stands for a batch in a graph. Whoever feeds `images` and `labels` need not feed
/// `samples`.
struct GraphBatch {
  Output samples;         ///< a placeholder, int64 [any]: the numbers of the batch's samples
  Output images, labels;  ///< [any,...]: as Batch has them
};
/// Makes data sets part of a graph, so that they lie on its device, in the dtypes in which they
/// are stored, and a run is fed but numbers of samples: of all data sets, counted through. To run
/// many steps at once, see Callable::run_steps. Throws BuildError where there is no data set,
/// for images and labels that do not match, and for data sets of different shapes or dtypes.
GraphBatch graph_batch(Graph& graph, const std::vector<Dataset>& datasets,
                       SourceLocation where = SourceLocation::current());

}  // namespace data
}  // namespace gradgraph

#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/inside.h"
#include "gradgraph/named_tensor.h"
#include "gradgraph/source_location.h"
#include "gradgraph/tensor.h"

namespace gradgraph GRADGRAPH_API {
namespace data {

/// The name of an array where a program asks for it, which knows the line.
struct ArrayName {
  ArrayName(const char* text,  // NOLINT: implicit
            SourceLocation line = SourceLocation::current())
      : name(text), where(line) {}
  ArrayName(std::string_view text,  // NOLINT: implicit
            SourceLocation line = SourceLocation::current())
      : name(text), where(line) {}
  ArrayName(const std::string& text,  // NOLINT: implicit
            SourceLocation line = SourceLocation::current())
      : name(text), where(line) {}
  std::string_view name;
  SourceLocation where;
};

/// Named arrays with one first axis, that of the samples, in an order. Copies share memory, and
/// so do parts: `first`, `split`, `subset` and `shuffled` note which samples they mean, so that
/// also what is mapped from a file (`map_npy`) can be cut and shuffled.
class Dataset {
 public:
  Dataset() = default;
  /// `Dataset{{"images", images}, {"labels", labels}}`. Throws BuildError for names that are
  /// empty or come twice, and for arrays without a first axis or with another one.
  Dataset(std::initializer_list<NamedTensor> arrays,
          SourceLocation where = SourceLocation::current());
  /// The same of a list: `Dataset(read_npz(path))`.
  explicit Dataset(const std::vector<NamedTensor>& arrays,
                   SourceLocation where = SourceLocation::current());

  std::int64_t size() const { return size_; }  ///< samples
  const std::vector<std::string>& names() const;
  bool contains(std::string_view name) const;
  /// The array of that name, [size,...]; shares the memory where it is all or the first of it,
  /// and copies the samples that a part or another order has. Throws BuildError where there is
  /// none, with the names that there are.
  Tensor operator[](ArrayName name) const;

  /// What the class numbers of an array mean: entry i is the name of class i. Empty where
  /// nobody knows; readers of names, as of folders and of texts in tables, know.
  const std::vector<std::string>& classes(ArrayName name) const;
  void set_classes(ArrayName name, std::vector<std::string> classes);

  /// The first `limit` samples; all of them when `limit` is 0 or more than there are. Throws
  /// BuildError for a negative limit.
  Dataset first(std::int64_t limit, SourceLocation where = SourceLocation::current()) const;
  /// The samples from `begin` to before `end`. Throws BuildError where one is not in [0, size].
  Dataset subset(std::int64_t begin, std::int64_t end,
                 SourceLocation where = SourceLocation::current()) const;
  /// The samples of these numbers, in this order. Throws BuildError for one outside [0, size).
  Dataset subset(std::span<const std::int64_t> samples,
                 SourceLocation where = SourceLocation::current()) const;
  Dataset subset(std::initializer_list<std::int64_t> samples,
                 SourceLocation where = SourceLocation::current()) const {
    return subset(std::span(samples.begin(), samples.size()), where);
  }
  /// All samples in an order that depends on the seed and their number alone.
  Dataset shuffled(std::uint64_t seed, SourceLocation where = SourceLocation::current()) const;
  /// The first part of the samples, and the rest: `auto [train, test] = all.split(0.9)`. Of a
  /// fraction in [0, 1] the nearest whole number is taken. Shuffle before, where neighbours are
  /// alike. Throws BuildError for a fraction or number out of range.
  std::pair<Dataset, Dataset> split(double fraction,
                                    SourceLocation where = SourceLocation::current()) const;
  template <std::integral T>
  std::pair<Dataset, Dataset> split(T count,
                                    SourceLocation where = SourceLocation::current()) const {
    return split_at(static_cast<std::int64_t>(count), where);
  }

  /// The arrays as they lie in memory, in the order of `names`; sample i of this data set is
  /// their `position(i)`.
  const std::vector<Tensor>& stored() const;
  std::int64_t position(std::int64_t sample) const {
    return positions_ ? positions_.data<std::int64_t>()[sample] : begin_ + sample;
  }

 private:
  struct Contents;

  std::size_t index_of(const ArrayName& name) const;
  std::pair<Dataset, Dataset> split_at(std::int64_t count, SourceLocation where) const;

  std::shared_ptr<const Contents> contents_;
  std::int64_t begin_ = 0, size_ = 0;
  Tensor positions_;  ///< empty: those from `begin_` on
};

/// The arrays of one first axis and of 0 or 1 more, side by side: [size, columns]. So the columns
/// of a table become what a layer takes. Throws BuildError where there is no such array.
Tensor stacked(const Dataset& dataset, const std::vector<std::string>& names,
               DType dtype = float32, SourceLocation where = SourceLocation::current());

struct Mnist {
  Dataset train, test;  ///< "images", uint8 [N,28,28,1], and "labels", int64 [N]
  std::filesystem::path directory;
  std::string source;  ///< in words: "MNIST in data/mnist"
};
/// Reads the four MNIST files, gzip or plain, from `directory`, called as they are published
/// (train-images-idx3-ubyte) or as they often arrive (train-images.idx3-ubyte). Throws DataError
/// when one is missing, broken, or holds a label outside 0..9.
Mnist read_mnist(const std::filesystem::path& directory,
                 SourceLocation where = SourceLocation::current());
/// The same from `directory` when it is not empty, else $MNIST_DIR when it is set, else
/// data/mnist when it holds some of the files, else the first that holds all of them: the folder
/// that `run` downloads to (${XDG_CACHE_HOME:-~/.cache}/gradgraph/mnist), Debian's Fashion-MNIST.
/// Throws DataError: what was named but is not there or not whole is an error, not a reason to
/// go on.
Mnist find_mnist(const std::filesystem::path& directory = {},
                 SourceLocation where = SourceLocation::current());

/// Reads an IDX file, plain or gzip: uint8, int32, float32 and float64 elements. Every header
/// field is checked against the file's size. Throws DataError with path and fault.
Tensor read_idx(const std::filesystem::path& path,
                SourceLocation where = SourceLocation::current());

struct Cifar {
  Dataset train, test;  ///< "images", uint8 [N,32,32,3], and "labels", int64 [N]
  std::filesystem::path directory;
};
/// Reads CIFAR-10 in its binary form (data_batch_1.bin to data_batch_5.bin, test_batch.bin,
/// batches.meta.txt), each file plain or with .gz, from `directory` or the folder
/// cifar-10-batches-bin in it. Throws DataError when one is missing, cut, or has a class that
/// there is not. Source: Krizhevsky 2009.
Cifar read_cifar10(const std::filesystem::path& directory,
                   SourceLocation where = SourceLocation::current());
/// The same of CIFAR-100 (train.bin, test.bin, the two lists of names), from `directory` or
/// cifar-100-binary in it; "labels" are the 100 classes, "coarse_labels" the 20.
Cifar read_cifar100(const std::filesystem::path& directory,
                    SourceLocation where = SourceLocation::current());

/// What a table's column becomes.
enum class ColumnType : std::uint8_t { int64, float32, float64, classes };

struct CsvOptions {
  /// The first line has the columns' names; else, and where one is empty, they are called by
  /// their numbers, "0", "1", ...
  bool header = true;
  char separator = ',';
  char quote = '"';
  /// Of columns that are not named here: int64 where all is whole numbers, float32 where all is
  /// numbers, else classes.
  std::map<std::string, ColumnType> types = {};
  /// Names of classes, in the order of their numbers, so that several files have the same. Else
  /// they are those that the column has, sorted.
  std::map<std::string, std::vector<std::string>> classes = {};
  /// Fields that say that there is no value.
  std::vector<std::string> missing = {"", "NA", "N/A", "NaN", "nan", "null"};
  /// What stands for missing numbers (NaN, say, which makes a column of whole ones float32), and
  /// for missing classes. Without it a missing value is an error.
  std::optional<double> fill = {};
  std::optional<std::string> fill_class = {};
};
/// A table of text, plain or gzip: an array [N] for each column, with the class names of those
/// that are classes. Lines end in LF or CR LF, empty ones are left out, a field in quotes may
/// hold separators, line ends and doubled quotes (RFC 4180). Throws DataError with path, line and
/// column for lines of different lengths and for what is no value of the column's type,
/// BuildError for options that go against each other or name a column that is not there.
Dataset read_csv(const std::filesystem::path& path, const CsvOptions& options = {},
                 SourceLocation where = SourceLocation::current());

struct ImageOptions {
  int channels = 3;  ///< 3: red, green, blue; 1: grey, 0.299 R + 0.587 G + 0.114 B
  /// Every image is resized to this, bilinearly as Pillow does it; 0: images are as they are, and
  /// must all be of one size.
  std::int64_t height = 0, width = 0;
  int threads = 0;  ///< that decode; 0 for all cores
};
/// A PNG or JPEG file: uint8 [H,W,channels]. Transparency is dropped, of 16 bits the upper 8 are
/// kept. Throws DataError with path and fault, also where the library was built without libpng
/// and libjpeg-turbo, BuildError for options out of range.
Tensor read_image(const std::filesystem::path& path, const ImageOptions& options = {},
                  SourceLocation where = SourceLocation::current());
/// A folder that has a folder of images (.png, .jpg, .jpeg) for each class: "images", uint8
/// [N,H,W,channels], and "labels", int64 [N], with the folders' names as classes, both sorted by
/// name. Other files are passed over. Throws as `read_image`, and DataError for images of
/// different sizes and for a class without any.
Dataset read_image_folder(const std::filesystem::path& directory,
                          const ImageOptions& options = {},
                          SourceLocation where = SourceLocation::current());

/// Throws DataError where the library was built without libpng and libjpeg-turbo, which reading
/// and writing images take: so a program learns it before a long training.
void require_images(SourceLocation where = SourceLocation::current());
/// Writes an image as a PNG file: uint8, or float32 from 0 to 1, which is clipped; [H,W], [H,W,1]
/// or [H,W,3]. The file is whole or as it was before. Throws BuildError for another tensor,
/// DataError where it cannot be written, also where the library was built without libpng and
/// libjpeg-turbo.
void write_png(const std::filesystem::path& path, const Tensor& image,
               SourceLocation where = SourceLocation::current());
/// Images [N,H,W,C] as one, [rows * H, columns * W, C], in as many rows as it takes; zeros where
/// there are no more. Throws BuildError for another rank and fewer than one column.
Tensor side_by_side(const Tensor& images, std::int64_t columns,
                    SourceLocation where = SourceLocation::current());

/// Random numbers that depend on these four numbers alone: Philox (Salmon et al. 2011).
class Random {
 public:
  Random(std::uint64_t seed, std::int64_t epoch, std::int64_t sample, std::uint64_t stream = 0);
  std::uint32_t next();
  double uniform();  ///< in [0, 1), a multiple of 2^-32
  /// In [0, bound), for a bound from 1 on; all alike.
  std::uint32_t below(std::uint32_t bound);

 private:
  std::uint64_t key_;
  std::uint64_t sample_;
  std::uint32_t epoch_, block_ = 0;
  std::uint32_t words_[4] = {};
  int left_ = 0;
};

/// Some samples of a data set, in arrays of the same names and order.
class Batch {
 public:
  Batch() = default;
  explicit Batch(const std::vector<NamedTensor>& arrays,
                 SourceLocation where = SourceLocation::current());

  /// Samples: the arrays' first axis.
  std::int64_t size() const;
  const std::vector<std::string>& names() const { return *names_; }
  /// In the order of `names`.
  const std::vector<Tensor>& arrays() const { return arrays_; }
  /// The array of that name; a transform may write to it, or put another in its place. Throws
  /// BuildError where there is none.
  const Tensor& operator[](ArrayName name) const { return arrays_[index_of(name)]; }
  Tensor& operator[](ArrayName name) { return arrays_[index_of(name)]; }

  /// The numbers of its samples in the data set.
  std::span<const std::int64_t> samples() const { return samples_; }
  /// Random numbers for one of them, `index` in [0, size): the same in every run with this seed
  /// and epoch, however batches are made. Different streams are for different purposes.
  Random random(std::int64_t index, std::uint64_t stream = 0) const {
    return {seed_, epoch_, samples_[static_cast<std::size_t>(index)], stream};
  }

 private:
  friend class Batches;
  std::size_t index_of(const ArrayName& name) const;

  std::shared_ptr<const std::vector<std::string>> names_ =
      std::make_shared<std::vector<std::string>>();
  std::vector<Tensor> arrays_;
  std::span<const std::int64_t> samples_;
  std::uint64_t seed_ = 0;
  std::int64_t epoch_ = 0;
};

template <class F>
concept BatchFunction = std::invocable<F&, Batch&>;

/// What is done to every batch on the thread that makes it: one of the functions below, or any
/// function of a `Batch&`. A function that changes dtypes or shapes comes behind those below.
class Transform {
 public:
  template <BatchFunction F>
  Transform(F function)  // NOLINT: implicit
      : function_(std::move(function)) {}

  struct Step;
  explicit Transform(std::shared_ptr<const Step> step) : step_(std::move(step)) {}

 private:
  friend class Batches;
  std::shared_ptr<const Step> step_;
  std::function<void(Batch&)> function_;
};

/// float32 x / `divisor`, of any dtype: for uint8 images other than "images", which are scaled
/// by themselves.
Transform scale(std::string array, double divisor = 255);
/// (x - mean) / deviation in float32 or float64; one of each, or one for every channel, which are
/// the last axis.
Transform normalize(std::string array, std::vector<double> means, std::vector<double> deviations);
/// Of images [H,W,C] with `padding` zeros on all four sides, a random part [height,width,C].
Transform random_crop(std::string array, std::int64_t height, std::int64_t width,
                      std::int64_t padding = 0);
/// Images [H,W,C] mirrored, left to right, with this probability.
Transform random_flip(std::string array, double probability = 0.5);
/// Class numbers, int32, int64 or uint8, as float32 [...,classes]: 1 at the number, else 0.
/// Making the batch throws RunError for a number outside [0, classes).
Transform one_hot(std::string array, std::int64_t classes);

struct BatchOptions {
  bool shuffle = true;
  std::uint64_t seed = 0;
  /// Shuffles and random transforms differ from epoch to epoch, and repeat with the seed.
  std::int64_t epoch = 0;
  /// Leaves out the last batch where it would be smaller than the others.
  bool drop_last = false;
  /// Batches made ahead on a second thread, where it finds a core without work; 0 makes all on
  /// the caller's, which also makes those that are not there when it asks.
  int prefetch = 2;
  /// Threads that fill such a batch, up to 4096, 0 for all cores: as many as the session has,
  /// whose pool they are of. Batches do not depend on it.
  int threads = 1;
  /// Applied to every batch, one after the other, on the thread that makes it. What one throws,
  /// `next` throws.
  std::vector<Transform> transforms = {};
};

/// One pass over `dataset` in batches; the last may be smaller. An array that is called "images"
/// and is uint8 x is handed out as float32 x / 255, everything else as it is stored. Memory is
/// reused: a Batch is valid until the next one is asked for, and no batch after the first few
/// allocates, but for what a function of the program does.
/// Throws BuildError for a batch size below 1, for a data set without arrays and for options out
/// of range, RunError where there is no memory for the buffers.
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
  /// The same from batch number `first` on, in [0, size]: where a run that was interrupted goes
  /// on.
  void restart(std::int64_t epoch, std::int64_t first,
               SourceLocation where = SourceLocation::current());

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
  Inside<State> state_;
};

/// The same, for a `for` loop: `for (const auto& batch : gg::data::batches(mnist.train, 128))`.
Batches batches(const Dataset& dataset, std::int64_t batch_size, BatchOptions options = {},
                SourceLocation where = SourceLocation::current());

/// The numbers of a data set's samples in the order in which Batches with this seed and epoch
/// hands them out: int64 [size].
Tensor shuffled_samples(std::int64_t size, std::uint64_t seed, std::int64_t epoch,
                        SourceLocation where = SourceLocation::current());

/// What stands for a batch in a graph. Whoever feeds the arrays need not feed `samples`.
/// Of placeholders of one's own: `{.arrays = {{"x", x}, {"y", y}}}`.
struct GraphBatch {
  Output samples = {};  ///< a placeholder, int64 [any]: the numbers of the batch's samples
  /// [any,...], as Batch has them, in the data sets' order.
  std::vector<std::pair<std::string, Output>> arrays = {};
  /// Throws BuildError where there is none of that name.
  Output operator[](ArrayName name) const;
};
/// Makes data sets part of a graph, so that they lie on its device, in the dtypes in which they
/// are stored, and a run is fed but numbers of samples: of all data sets, counted through. To run
/// many steps at once, see Callable::run_steps. Throws BuildError where there is no data set, and
/// for data sets whose arrays differ in names, shapes or dtypes.
GraphBatch graph_batch(Graph& graph, const std::vector<Dataset>& datasets,
                       SourceLocation where = SourceLocation::current());

}  // namespace data
}  // namespace gradgraph

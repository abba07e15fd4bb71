#include "device/cuda/issue.h"
#include "device/cuda/kernels.h"
#include "device/shared/draws.h"

/// Random numbers, with the CPU's bits: a thread for every block of four words.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

constexpr int kThreads = 128;
constexpr int kWords = 4;

/// Words that an element takes.
template <class T, class Draw>
inline constexpr int kWordsOf = kWordsEach<T>;
template <class T>
inline constexpr int kWordsOf<T, DropoutDraw<T>> = 1;

template <class T, class Draw>
__device__ T draw_one(const Draw& draw, const std::uint32_t* words) {
  return draw(open_unit<T>(words));
}
template <class T>
__device__ T draw_one(const DropoutDraw<T>& draw, const std::uint32_t* words) {
  return draw(*words);
}

template <class T, class Draw>
__device__ void draw_block(const Draw& draw, const std::uint32_t* words, T* out, int64_t count) {
  constexpr int kEach = kWordsOf<T, Draw>;
  for (int i = 0; i < kWords / kEach && i < count; ++i)
    out[i] = draw_one<T>(draw, words + i * kEach);
}
template <class T>
__device__ void draw_block(const NormalDraw<T>& draw, const std::uint32_t* words, T* out,
                           int64_t count) {
  constexpr int kEach = kWordsEach<T>;
  for (int i = 0; i < kWords / kEach && i < count; i += 2) {
    const auto pair = draw(words + i * kEach);
    out[i] = pair.first;
    if (i + 1 < count) out[i + 1] = pair.second;
  }
}

/// Where `draws` is given and false, all elements are 1.
template <class T, class Draw>
__global__ void __launch_bounds__(kThreads)
    draw_all(T* out, int64_t count, Draw draw, std::uint64_t node, const RunInfo* run,
             const bool* draws) {
  constexpr int kElements = kWords / kWordsOf<T, Draw>;
  const bool is_on = !draws || *draws;
  const std::uint64_t key = philox_key(run->seed, node, run->iteration);
  for (int64_t block = thread_number(); block * kElements < count; block += num_threads()) {
    T* const own = out + block * kElements;
    const int64_t left = count - block * kElements;
    if (is_on) {
      const PhiloxBlock words = philox(philox_counter(run->step, block), key);
      draw_block(draw, words.word, own, left);
    } else {
      for (int i = 0; i < kElements && i < left; ++i) own[i] = T{1};
    }
  }
}

template <class T, template <class> class Draw>
Kernel make(const KernelSite& site) {
  constexpr int kElements = kWords / kWordsOf<T, Draw<T>>;
  const int64_t count = site.output_shape().num_elements();
  constexpr bool kHasSwitch = std::is_same_v<Draw<T>, DropoutDraw<T>>;
  return {[=, draw = Draw<T>(site), node = name_hash(site.node())](const KernelArgs& args) {
    issue(args, draw_all<T, Draw<T>>, blocks_for(count, kElements * kThreads), kThreads, 0,
          args.output<T>(), count, draw, node, args.run,
          kHasSwitch ? args.input<bool>(1) : nullptr);
  }};
}

template <template <class> class Draw>
void add(KernelRegistry& registry, std::string_view op) {
  registry.add(op, kCuda, {float32}, make<float, Draw>);
  registry.add(op, kCuda, {float64}, make<double, Draw>);
}

}  // namespace

void register_random_kernels(KernelRegistry& registry) {
  add<UniformDraw>(registry, "random_uniform");
  add<NormalDraw>(registry, "random_normal");
  add<TruncatedNormalDraw>(registry, "truncated_normal");
  add<DropoutDraw>(registry, "dropout_mask");
}

}  // namespace gradgraph::cuda

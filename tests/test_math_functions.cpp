#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "device/cpu/isa.h"
#include "device/cpu/program_runner.h"
#include "device/float_mode.h"
#include "kernel_helpers.h"

/// The functions of one operand against the C library in the next wider type, as loops and as
/// threaded code, at every level of the instruction set.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

struct Function {
  std::string op;
  double (*in_double)(double);
  long double (*in_long_double)(long double);
  double low, high;                       ///< where most of its values are
  std::uint64_t hash_float, hash_double;  ///< of the results over the sweeps
};

template <class T>
T logistic(T x) {
  return 1 / (1 + std::exp(-x));
}

#define GRADGRAPH_FUNCTION(op, function, ...)                                            \
  {                                                                                      \
    op, [](double x) { return function(x); }, [](long double x) { return function(x); }, \
        __VA_ARGS__                                                                      \
  }
const Function kFunctions[] = {
    GRADGRAPH_FUNCTION("exp", std::exp, -30, 30, 0x352DDD2BDB82E223ULL, 0xC9BAC1D3713B9C7DULL),
    GRADGRAPH_FUNCTION("log", std::log, 0, 100, 0xD68C0CBDC5AE9572ULL, 0x18BAD79BB86A0733ULL),
    GRADGRAPH_FUNCTION("sigmoid", logistic, -30, 30, 0xD1B2C059CA0429CCULL,
                       0x8402695CA97561C0ULL),
    GRADGRAPH_FUNCTION("tanh", std::tanh, -5, 5, 0x57FE72C2B628C7D1ULL, 0x166149E256F9C395ULL),
};
#undef GRADGRAPH_FUNCTION

std::vector<Isa> levels() {
  std::vector<Isa> result;
  for (const Isa level : {Isa::baseline, Isa::avx2, Isa::avx512})
    if (level <= best_isa()) result.push_back(level);
  return result;
}

template <class T>
using Values = std::vector<T>;
std::int64_t size_of(const auto& values) { return static_cast<std::int64_t>(values.size()); }

/// As a loop, and as threaded code of whole blocks of any level.
template <class T>
Values<T> by_loop(const std::string& op, const Values<T>& x) {
  Values<T> y(x.size());
  const void* operand = x.data();
  find_row(op, dtype_of<T>, dtype_of<T>)(&operand, 1, y.data(), size_of(x));
  return y;
}
template <class T>
Values<T> by_links(const std::string& op, const Values<T>& x) {
  REQUIRE(x.size() % 128 == 0);
  ElementwiseProgram program;
  program.shape = {size_of(x)};
  program.input_dtypes = {dtype_of<T>};
  program.instructions = {{.op = &op_registry().at(op),
                           .num_operands = 1,
                           .operands = {0, 0, 0},
                           .dtype = dtype_of<T>}};
  program.results = {1};
  const Shape shapes[] = {program.shape};
  const ProgramRunner runner(program, shapes, 0);
  Values<T> y(x.size());
  Tensor scratch(uint8, {static_cast<std::int64_t>(runner.scratch_bytes()) + 1});
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  runner.run(inputs, outputs, scratch.raw(), 0, size_of(x));
  return y;
}

/// Which NaN it is does not count.
template <class T>
bool same(T a, T b) {
  return (a != a && b != b) || std::memcmp(&a, &b, sizeof a) == 0;
}

/// How far `result` is from `exact` in units of the last place of T, or infinity where they are
/// not both NaN, infinite, zero of one sign.
template <class T, class Exact>
double error_of(T result, Exact exact) {
  using Limits = std::numeric_limits<T>;
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  const T rounded = static_cast<T>(exact);
  if (std::isnan(rounded) || std::isnan(result))
    return std::isnan(rounded) && std::isnan(result) ? 0 : kWrong;
  if (std::signbit(rounded) != std::signbit(result)) return kWrong;
  if (std::isinf(rounded) || std::isinf(result)) return rounded == result ? 0 : kWrong;
  if (exact == 0) return result == 0 ? 0 : kWrong;
  const int exponent = std::max(std::ilogb(exact), Limits::min_exponent - 1);
  const Exact distance = static_cast<Exact>(result) - exact;
  return static_cast<double>(std::fabs(std::ldexp(distance, Limits::digits - 1 - exponent)));
}

template <class T>
std::uint64_t hash(const Values<T>& values) {
  std::uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const T value : values) {
    std::uint64_t bits = 0;
    if (value == value) std::memcpy(&bits, &value, sizeof value);
    hash = (hash ^ bits) * 0x100000001B3;
  }
  return hash;
}

template <class T>
Values<T> whole_blocks(Values<T> values) {
  while (values.size() % 128 != 0) values.push_back(T{0.5});
  return values;
}

/// Every 4093rd float, and the first and last of every exponent.
const Values<float>& all_floats() {
  static const Values<float> values = [] {
    Values<float> all;
    const auto add = [&](std::uint64_t bits) {
      const auto word = static_cast<std::uint32_t>(bits);
      all.emplace_back();
      std::memcpy(&all.back(), &word, sizeof word);
    };
    for (std::uint64_t bits = 0; bits < 1ull << 32; bits += 4093) add(bits);
    for (std::uint64_t bits = 0; bits < 1ull << 32; bits += 1 << 23)
      for (const int step : {-2, -1, 0, 1}) add(bits + static_cast<std::uint64_t>(step));
    return whole_blocks(std::move(all));
  }();
  return values;
}

/// Any doubles, those between `low` and `high`, and those around 0 and 1. The standard's
/// distributions differ between libraries.
Values<double> many_doubles(double low, double high) {
  std::mt19937_64 random(5);
  const auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  Values<double> values;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t bits = random();
    values.emplace_back();
    std::memcpy(&values.back(), &bits, sizeof bits);
    values.push_back(low + (high - low) * uniform());
    const double small = std::ldexp(uniform() - 0.5, -static_cast<int>(random() % 60));
    values.push_back(small);
    values.push_back(1 + small);
    values.push_back(1500 * (uniform() - 0.5));
  }
  return whole_blocks(std::move(values));
}

/// The limits of overflow and underflow among them.
template <class T>
Values<T> special_values() {
  using Limits = std::numeric_limits<T>;
  Values<T> values;
  const auto around = [&](double x) {
    T at = static_cast<T>(x);
    for (int i = 0; i < 4; ++i) at = std::nextafter(at, -Limits::infinity());
    for (int i = 0; i < 9; ++i, at = std::nextafter(at, Limits::infinity()))
      for (const T signed_one : {at, -at}) values.push_back(signed_one);
  };
  for (const T x : {T{0}, Limits::denorm_min(), Limits::min(), Limits::max(), Limits::infinity(),
                    Limits::quiet_NaN(), Limits::epsilon()})
    for (const T signed_one : {x, -x}) values.push_back(signed_one);
  for (const double x : {0.0, 1.0, 2.0, 0.5, 0.625, 20.0, 88.722839, 87.336544, 103.972076,
                         709.782712893384, 708.3964185322641, 744.4400719213812,
                         745.1332191019411, 0.34657359, 1.4142135623730951, 0.7071067811865476})
    around(x);
  return whole_blocks(std::move(values));
}

template <class T>
auto exact(const Function& function, T x) {
  if constexpr (sizeof(T) == sizeof(float))
    return function.in_double(static_cast<double>(x));
  else
    return function.in_long_double(static_cast<long double>(x));
}

/// Checks loops and threaded code of all levels, and returns the results.
template <class T>
Values<T> check(const Function& function, const Values<T>& x) {
  const Values<T> first = by_loop(function.op, x);
  double worst = 0;
  T worst_at = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = error_of(first[i], exact(function, x[i]));
    if (error > worst) worst = error, worst_at = x[i];
  }
  CHECK_MESSAGE(worst <= 2, function.op, " of ", worst_at, " is off by ", worst);
  for (const Isa level : levels()) {
    const IsaScope scope(level);
    for (const Values<T>& y : {by_loop(function.op, x), by_links(function.op, x)}) {
      std::size_t differ = 0;
      for (std::size_t i = 0; i < x.size(); ++i) differ += same(first[i], y[i]) ? 0 : 1;
      CHECK_MESSAGE(differ == 0, function.op, " at level ", static_cast<int>(level));
    }
  }
  return first;
}

}  // namespace

TEST_SUITE("math functions") {
  TEST_CASE("functions of float32 are within 2 units, and have the same bits everywhere") {
    for (const Function& function : kFunctions) {
      CAPTURE(function.op);
      check(function, special_values<float>());
      CHECK(hash(check(function, all_floats())) == function.hash_float);
    }
  }

  TEST_CASE("functions of float64 are within 2 units, and have the same bits everywhere") {
    for (const Function& function : kFunctions) {
      CAPTURE(function.op);
      check(function, special_values<double>());
      CHECK(hash(check(function, many_doubles(function.low, function.high))) ==
            function.hash_double);
    }
  }

  TEST_CASE("denormals are zero where processors take them for zero") {
    const FloatModeScope flushing(flushing_denormals(float_mode()));
    for (const Isa level : levels()) {
      const IsaScope scope(level);
      const Values<float> x(128, 1e-40f), far(128, -88.5f);
      for (const auto& evaluate : {by_loop<float>, by_links<float>}) {
        CHECK(evaluate("log", x)[77] == -std::numeric_limits<float>::infinity());
        CHECK(evaluate("exp", x)[77] == 1);
        CHECK(evaluate("exp", far)[77] == 0);
        CHECK(evaluate("sigmoid", far)[77] == 0);
        CHECK(evaluate("sigmoid", x)[77] == 0.5f);
      }
    }
  }
}

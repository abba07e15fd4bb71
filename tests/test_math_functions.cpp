#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "device/cpu/fused/program_runner.h"
#include "device/cpu/isa/isa.h"
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

template <class T>
T reciprocal_root(T x) {
  return 1 / std::sqrt(x);
}

#define GRADGRAPH_FUNCTION(op, function, ...)                                            \
  {                                                                                      \
    op, [](double x) { return function(x); }, [](long double x) { return function(x); }, \
        __VA_ARGS__                                                                      \
  }
const Function kFunctions[] = {
    GRADGRAPH_FUNCTION("exp", std::exp, -30, 30, 0x352DDD2BDB82E223ULL, 0xC9BAC1D3713B9C7DULL),
    GRADGRAPH_FUNCTION("log", std::log, 0, 100, 0xD68C0CBDC5AE9572ULL, 0x18BAD79BB86A0733ULL),
    GRADGRAPH_FUNCTION("sigmoid", logistic, -30, 30, 0x828A265F624D69ADULL,
                       0x83D034DC83D31319ULL),
    GRADGRAPH_FUNCTION("tanh", std::tanh, -5, 5, 0xE18868A01D1F7B7ULL, 0x166149E256F9C395ULL),
    GRADGRAPH_FUNCTION("expm1", std::expm1, -30, 30, 0x33144322A3E47912ULL,
                       0x9857C1CE28DE5158ULL),
    GRADGRAPH_FUNCTION("log1p", std::log1p, -1, 100, 0x6BAD6934DB3B4ED0ULL, 0x7A5EE9FEBFBB31AULL),
    GRADGRAPH_FUNCTION("erf", std::erf, -6, 6, 0xC8DB32BC05AA9BF9ULL, 0xF3627A9CA14AAD6EULL),
    GRADGRAPH_FUNCTION("sin", std::sin, -100, 100, 0xF75CDA1859997DF1ULL, 0x4E0CC29B2F0EEC8FULL),
    GRADGRAPH_FUNCTION("cos", std::cos, -2e6, 2e6, 0x65FADF0EDEDBADA8ULL, 0x2A620124B08D80B2ULL),
    GRADGRAPH_FUNCTION("sqrt", std::sqrt, 0, 100, 0x9F2BD605DD445114ULL, 0x826991BCAC300712ULL),
    GRADGRAPH_FUNCTION("rsqrt", reciprocal_root, 0, 100, 0x3D6225887A62F2C1ULL,
                       0x3B030D51345E553ULL),
};
#undef GRADGRAPH_FUNCTION

template <class T>
using Values = std::vector<T>;
std::int64_t size_of(const auto& values) { return static_cast<std::int64_t>(values.size()); }

/// As a loop, and as threaded code of whole blocks of any level.
template <class T>
Values<T> by_loop(const std::string& op, const Values<T>& x) {
  Values<T> y(x.size());
  const void* operand = x.data();
  find_loop(op, dtype_of<T>, dtype_of<T>)(&operand, 1, y.data(), size_of(x));
  return y;
}
template <class T>
Values<T> by_program(const std::string& op, std::vector<const void*> operands,
                     std::int64_t count) {
  REQUIRE(count % 128 == 0);
  const auto number = static_cast<std::int32_t>(operands.size());
  ElementwiseProgram program;
  program.shape = {count};
  program.input_dtypes.assign(operands.size(), dtype_of<T>);
  program.instructions = {{.op = &op_registry().at(op),
                           .num_operands = number,
                           .operands = {0, number - 1, 0},
                           .dtype = dtype_of<T>}};
  // One instruction alone would not be threaded code.
  program.instructions.push_back({.op = &op_registry().at("neg"),
                                  .num_operands = 1,
                                  .operands = {number},
                                  .dtype = dtype_of<T>});
  program.results = {number};
  const std::vector<Shape> shapes(operands.size(), program.shape);
  const ProgramRunner runner(program, shapes, 0);
  Values<T> y(static_cast<std::size_t>(count));
  Tensor scratch(uint8, {static_cast<std::int64_t>(runner.scratch_bytes()) + 1});
  void* outputs[] = {y.data()};
  runner.run(operands, outputs, scratch.raw(), 0, count);
  return y;
}
template <class T>
Values<T> by_links(const std::string& op, const Values<T>& x) {
  return by_program<T>(op, {x.data()}, size_of(x));
}

/// Which NaN it is does not count.
template <class T>
bool same(T a, T b) {
  return (a != a && b != b) || std::memcmp(&a, &b, sizeof a) == 0;
}

template <class T>
std::size_t count_differing(const Values<T>& a, const Values<T>& b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += same(a[i], b[i]) ? 0 : 1;
  return count;
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
    // One draw a statement: compilers evaluate arguments in orders of their own.
    const int exponent = -static_cast<int>(random() % 60);
    const double small = std::ldexp(uniform() - 0.5, exponent);
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
  for (const Isa level : usable_levels()) {
    const IsaScope scope(level);
    for (const Values<T>& y : {by_loop(function.op, x), by_links(function.op, x)}) {
      CHECK_MESSAGE(count_differing(first, y) == 0, function.op, " at level ",
                    static_cast<int>(level));
    }
  }
  return first;
}

template <class T>
struct Pairs {
  Values<T> base, exponent;
};

/// All special values to the power of each other.
template <class T>
Pairs<T> special_pairs() {
  using Limits = std::numeric_limits<T>;
  Values<T> values;
  for (const T x : {T{0},
                    T{0.5},
                    T{1},
                    T{2},
                    T{3},
                    T{1.5},
                    T{4097},
                    Limits::denorm_min(),
                    Limits::min(),
                    Limits::max(),
                    Limits::infinity(),
                    Limits::quiet_NaN(),
                    1 + Limits::epsilon(),
                    1 - Limits::epsilon(),
                    1 / Limits::epsilon() - 1,
                    1 / Limits::epsilon(),
                    1 / Limits::epsilon() + 2,
                    T{0.25} / Limits::epsilon() - T{0.5},
                    T{150},
                    T{149.5},
                    T{1075},
                    T{1023},
                    T{127},
                    T{128},
                    T{1024}})
    for (const T signed_one : {x, -x}) values.push_back(signed_one);
  Pairs<T> pairs;
  for (const T x : values)
    for (const T y : values) pairs.base.push_back(x), pairs.exponent.push_back(y);
  return {whole_blocks(pairs.base), whole_blocks(pairs.exponent)};
}

/// Results of every size; small powers of any base, and large ones of bases near 1.
template <class T>
Pairs<T> many_pairs() {
  std::mt19937_64 random(6);
  const auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  constexpr double kMost = sizeof(T) == sizeof(float) ? 155 : 1090;
  Pairs<T> pairs;
  for (int i = 0; i < 250'000; ++i) {
    const int wide = i % 2 == 0 ? 1 : static_cast<int>(kMost) - 30;
    const int exponent = static_cast<int>(random() % static_cast<unsigned>(2 * wide)) - wide;
    const double fraction = uniform(), logarithm = exponent + fraction;  // nearly
    const T base = static_cast<T>(std::ldexp(1 + fraction, exponent));
    const double power = kMost * (2 * uniform() - 1) / (logarithm == 0 ? 1 : logarithm);
    pairs.base.push_back(base);
    pairs.exponent.push_back(static_cast<T>(i % 5 == 0 ? std::round(power) : power));
    if (i % 5 == 0) pairs.base.back() = -base;
  }
  return {whole_blocks(pairs.base), whole_blocks(pairs.exponent)};
}

template <class T>
Values<T> powers_by_loop(const Pairs<T>& pairs) {
  Values<T> y(pairs.base.size());
  const void* operands[] = {pairs.base.data(), pairs.exponent.data()};
  find_loop("pow", dtype_of<T>, dtype_of<T>)(operands, 3, y.data(), size_of(y));
  return y;
}
template <class T>
Values<T> powers_by_links(const Pairs<T>& pairs) {
  return by_program<T>("pow", {pairs.base.data(), pairs.exponent.data()}, size_of(pairs.base));
}

template <class T>
void check_powers(std::uint64_t expected, const Pairs<T>& special, const Pairs<T>& many) {
  using Exact = std::conditional_t<sizeof(T) == sizeof(float), double, long double>;
  for (const Pairs<T>* pairs : {&special, &many}) {
    const Values<T> first = powers_by_loop(*pairs);
    double worst = 0;
    std::size_t worst_at = 0;
    for (std::size_t i = 0; i < first.size(); ++i) {
      const double error = error_of(first[i], std::pow(static_cast<Exact>(pairs->base[i]),
                                                       static_cast<Exact>(pairs->exponent[i])));
      if (error > worst) worst = error, worst_at = i;
    }
    CHECK_MESSAGE(worst <= 2, pairs->base[worst_at], " to the power of ",
                  pairs->exponent[worst_at], " is off by ", worst);
    for (const Isa level : usable_levels()) {
      const IsaScope scope(level);
      for (const Values<T>& y : {powers_by_loop(*pairs), powers_by_links(*pairs)})
        CHECK(count_differing(first, y) == 0);
    }
    if (pairs == &many) CHECK(hash(first) == expected);
  }
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

  TEST_CASE("powers of float32 and float64 are within 2 units, and the same everywhere") {
    check_powers(0xF52DA61287C176F7ULL, special_pairs<float>(), many_pairs<float>());
    check_powers(0xBBB871846C600A53ULL, special_pairs<double>(), many_pairs<double>());
  }

  TEST_CASE("what comes of an angle does not depend on its neighbours") {
    for (const std::string op : {"sin", "cos"}) {
      Values<float> x(640);
      for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = i % 67 == 3 ? 3e7f * static_cast<float>(i) : 0.01f * static_cast<float>(i);
      const Values<float> together = by_loop(op, x), linked = by_links(op, x);
      for (std::size_t i = 0; i < x.size(); ++i) {
        const Values<float> alone = by_loop(op, Values<float>{x[i]});
        CHECK(same(together[i], alone[0]));
        CHECK(same(linked[i], alone[0]));
      }
    }
  }

  TEST_CASE("denormals are zero where processors take them for zero") {
    const FloatModeScope flushing(flushing_denormals(float_mode()));
    for (const Isa level : usable_levels()) {
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

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "settings.h"

/// SessionOptions::check_numerics where values are in a GPU's memory.
namespace gradgraph::tests {

TEST_CASE("numerics: what a GPU makes is looked at, in all floating dtypes") {
  for (const DType dtype : {float32, float64, float16, bfloat16}) {
    CAPTURE(dtype);
    in_every_order([&] {
      Graph graph;
      const Output x = placeholder(graph, dtype, {any}, "x");
      const Output w = variable(graph, Tensor{1.f, 2.f, 4.f}.cast(dtype), "w");
      const Output y = log(x * w);
      const std::string line = "(test_numerics.cpp:" + std::to_string(__LINE__ - 1) + ")";
      const Output moved = assign_add(w, y);
      Session session(graph, {.device = "cuda:0", .check_numerics = true});
      session.run({{x, Tensor{1.f, 1.f, 1.f}.cast(dtype)}}, {moved});
      const std::string message = message_of<NumericsError>([&] {
        session.run({{x, Tensor{1.f, -1.f, 0.f}.cast(dtype)}}, {moved});
      });
      CHECK_MESSAGE(contains(message, "[log] 'log': made 1 NaN and 1 infinity in " +
                                          std::string(name(dtype)) +
                                          "[3], the first at [1], of "
                                          "'mul' " +
                                          std::string(name(dtype)) + "[3] from -2"),
                    message);
      CHECK_MESSAGE(contains(message, "; in step 1"), message);
      CHECK_MESSAGE(message.ends_with(line), message);
      CHECK(session.value(w).cast(float32).data<float>()[0] == 1);
      CHECK(contains(message_of<NumericsError>([&] {
                       session.run({{x, Tensor{1.f, NAN, 1.f}.cast(dtype)}}, {moved});
                     }),
                     "the fed value itself"));
    });
  }
}

TEST_CASE("numerics: what a GPU has updated by then is taken back") {
  in_every_order([] {
    Graph graph;
    const Output x = placeholder(graph, float32, {}, "x");
    const Output first = variable(graph, Tensor(1.f), "first"),
                 second = variable(graph, Tensor(3e38f), "second");
    const Output added = assign_add(first, x);
    const auto ordered = control_dependencies(graph, {added});
    const Output overflowed = assign_add(second, x * 3e38f);
    Session session(graph, {.device = "cuda:0", .check_numerics = true});
    CHECK(contains(
        message_of<NumericsError>([&] {
          session.run({{x, Tensor(1.f)}}, {overflowed});
        }),
        "made 1 infinity in float32[], of 'second' float32[] of 3e+38, 'mul' float32[] of 3e+38; "
        "in step 0"));
    CHECK(session.value(first).item<float>() == 1);
    CHECK(session.value(second).item<float>() == 3e38f);
  });
}

}  // namespace gradgraph::tests

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "session/compiled_plan.h"

int main(int argc, char** argv) {
  gradgraph::verifies_stages = true;
  return doctest::Context(argc, argv).run();
}

// Writes an event file for tests/event_files.py: write_events DIRECTORY
#include <cstdio>

#include "gradgraph/gradgraph.h"

namespace gg = gradgraph;

int main(int, char** argv) {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {gg::any, 3}, "x");
  const auto loss = gg::sum(gg::nn::dense(x, {.units = 2}, "dense"));
  gg::EventWriter writer(argv[1]);
  writer.graph(graph);
  for (int step = 0; step < 5; ++step) writer.scalar("loss/training", 1.5 / (step + 1), step);
  writer.scalar("large", -1e30, 5'000'000'000);
  writer.histogram("weights", gg::Tensor{-2.f, 0.f, 0.5f, 0.5f, 3.f}, 7);
  std::printf("%s\n", writer.path().c_str());
  return loss ? 0 : 1;
}

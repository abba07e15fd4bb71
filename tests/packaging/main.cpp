#include <gradgraph/gradgraph.h>

#include <iostream>

int main() {
  gg::Graph graph;
  auto x = gg::placeholder(graph, gg::float32, {gg::any}, "x");
  auto loss = gg::mean(gg::square(x));
  gg::Session session{graph};
  std::cout << session.run({{x, gg::Tensor{3.f, 4.f}}}, loss).item<float>() << "\n";
}

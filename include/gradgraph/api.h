#pragma once

/// Marks a namespace block whose contents the shared library exports; everything else is hidden.
#define GRADGRAPH_API __attribute__((visibility("default")))

namespace gradgraph {}
namespace gg = gradgraph;

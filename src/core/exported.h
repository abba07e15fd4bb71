#pragma once

/// What the public headers declare, as visible outside. Clang takes the visibility of a namespace
/// for what stands in that very block, not for functions of it that another block defines, and
/// the pragma only where the namespace has none. Clang includes this before everything else.
#include "gradgraph/api.h"
#undef GRADGRAPH_API
#define GRADGRAPH_API
#pragma GCC visibility push(default)
#include "gradgraph/gradgraph.h"
#pragma GCC visibility pop

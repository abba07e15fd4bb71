#pragma once

#include "device/cpu/isa/compiled_levels.h"
#include "device/cpu/isa/isa.h"

/// For files that are compiled once per level, in a namespace of the level's name: the others
/// declare by GRADGRAPH_LEVELS what each of these namespaces has, and GRADGRAPH_AT_LEVEL is that
/// of one level.
#define GRADGRAPH_LEVELS(Type, name) GRADGRAPH_EACH_LEVEL(GRADGRAPH_DECLARE_AT, Type, name)
#define GRADGRAPH_AT_LEVEL(level, name) \
  (GRADGRAPH_EACH_LEVEL(GRADGRAPH_NAME_AT, level, name) GRADGRAPH_HIGHEST_LEVEL::name)

#define GRADGRAPH_DECLARE_AT(own, Type, name) \
  namespace own {                             \
  extern Type name;                           \
  }
#define GRADGRAPH_NAME_AT(own, level, name) (level) == Isa::own ? own::name:

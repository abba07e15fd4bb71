#pragma once

#include "device/cpu/isa/isa.h"

/// For files that are compiled once per level, in a namespace of the level's name: the others
/// declare by GRADGRAPH_LEVELS what each of these namespaces has, and GRADGRAPH_AT_LEVEL is that
/// of one level.
#ifdef GRADGRAPH_ISA_LEVELS
#define GRADGRAPH_LEVELS(Type, name) \
  namespace baseline {               \
  extern Type name;                  \
  }                                  \
  namespace avx2 {                   \
  extern Type name;                  \
  }                                  \
  namespace avx512 {                 \
  extern Type name;                  \
  }
#define GRADGRAPH_AT_LEVEL(level, name) \
  ((level) == Isa::avx512 ? avx512::name : (level) == Isa::avx2 ? avx2::name : baseline::name)
#else
#define GRADGRAPH_LEVELS(Type, name) \
  namespace baseline {               \
  extern Type name;                  \
  }
#define GRADGRAPH_AT_LEVEL(level, name) (static_cast<void>(level), baseline::name)
#endif

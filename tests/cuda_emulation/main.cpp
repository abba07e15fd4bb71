#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
// Faults are reported by the emulator, with the kernel and the thread.
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#include <doctest/doctest.h>

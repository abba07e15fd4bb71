#pragma once

#include <cstddef>
#include <string>

#include "cuda_emulation/ordering.h"

namespace cuda_emulation {

/// Looks at every load and store of kernels that were compiled with -fsanitize=thread (in place
/// of that sanitizer's own library: access_hooks.cpp), and at copies. Finds
///   races      between threads that no barrier, blocks that nothing, and work of streams or of
///              nodes of a graph that no event orders;
///   reads      of memory that nobody has written;
///   addresses  outside of live memory of the device and dynamic shared memory, and those that
///              are no multiple of the access's size.
/// Off at first. Switched, and told of, only by the worker or while it is idle.
void check_accesses(bool on);

/// Who makes the following accesses: a kernel, or null for another kind of work.
void begin_task(const Task& task, const void* kernel, const Operands& operands);

/// A load or store, or an atomic operation, of a kernel; `code` follows the instruction.
struct Access {
  bool writes = false, atomic = false, aligned = false;
  const void* code = nullptr;
};
void note_access(const void* memory, std::size_t bytes, const Access& access);
/// What copies and libraries read and write of a device's memory. Return what is wrong, or "".
std::string note_read(const void* memory, std::size_t bytes);
std::string note_written(const void* memory, std::size_t bytes);

/// Memory that was written before the checks began.
void note_known(const void* memory, std::size_t bytes);
/// Shared memory that another block gets.
void note_unwritten(const void* memory, std::size_t bytes);
/// Memory that is freed, and does not come back.
void note_freed(const void* memory, std::size_t bytes);

}  // namespace cuda_emulation

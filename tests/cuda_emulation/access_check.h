#pragma once

#include <cstddef>

namespace cuda_emulation {

/// Looks at every load and store of kernels that were compiled with -fsanitize=thread, in place
/// of that sanitizer's own library: the calls that the compiler inserts end here. Finds
///   races      between threads that no barrier, and between blocks that nothing, orders;
///   reads      of memory that nobody has written;
///   addresses  outside of live memory of the device and dynamic shared memory, and those that
///              are no multiple of the access's size.
/// Off at first. Switched, and told of, only by the worker or while it is idle.
void check_accesses(bool on);
/// Memory that copies and libraries have written.
void note_written(const void* memory, std::size_t bytes);
/// Memory that nobody has written, which may have had another use.
void note_unwritten(const void* memory, std::size_t bytes);
/// Memory that is freed, and does not come back.
void note_freed(const void* memory, std::size_t bytes);

}  // namespace cuda_emulation

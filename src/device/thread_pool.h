#pragma once

#include <cstdint>

namespace gradgraph {

/// The process's threads share loops. A loop is cut into chunks, and each of its threads has
/// a range of them: the same in every run, so that what it touches stays in its core's caches.
/// Whoever has finished their own takes of the others', so that a thread which lost its core to
/// another program holds up nothing but the chunk that it has begun; one that has begun none is
/// not waited for. Threads are started when first needed; they look out for work for a moment,
/// then sleep. Loops of several threads of the program share them: who finds no thread free runs
/// alone. No memory is allocated once there are threads enough.
using ChunkCall = void (*)(const void* body, std::int64_t chunk, int worker);

/// Calls `call(body, chunk, worker)` once for each chunk in [0, chunks), on up to `workers`
/// threads, the caller among them; no two have the same `worker`, in [0, workers), at a time. All
/// compute in the caller's FloatMode. Loops within a call run on its thread. `call` must not
/// throw.
void run_chunks(std::int64_t chunks, int workers, ChunkCall call, const void* body);

}  // namespace gradgraph

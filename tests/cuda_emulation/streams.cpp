/// Bodies of the runtime API's functions for streams and events.

#include <algorithm>

#include "cuda_emulation/engine.h"

using cuda_emulation::Clock;
using cuda_emulation::Command;
using cuda_emulation::Engine;
using cuda_emulation::engine;
using cuda_emulation::EventState;
using cuda_emulation::forbidden;
using cuda_emulation::result;

namespace {

cudaError_t no_stream() {
  return result(cudaErrorInvalidResourceHandle, "the default stream is not to be used");
}

void unite(std::vector<std::size_t>& to, const std::vector<std::size_t>& from) {
  for (const std::size_t node : from)
    if (std::find(to.begin(), to.end(), node) == to.end()) to.push_back(node);
}

}  // namespace

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::scoped_lock lock(engine().mutex);
  *stream = new CUstream_st{.device = cuda_emulation::current_device()};
  engine().add(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::unique_lock lock(engine().mutex);
  engine().remove(lock, stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  std::unique_lock lock(engine().mutex);
  if (!stream) return no_stream();
  if (forbidden(stream)) return result(cudaErrorStreamCaptureUnsupported);
  engine().wait(lock, [&] { return Engine::done(stream); });
  engine().host_clock.join(stream->clock);
  return result(engine().sticky);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const std::scoped_lock lock(engine().mutex);
  if (forbidden(stream)) return result(cudaErrorStreamCaptureUnsupported);
  engine().nudge();
  if (!Engine::done(stream)) return cudaErrorNotReady;
  engine().host_clock.join(stream->clock);
  return engine().sticky;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  std::unique_lock lock(engine().mutex);
  if (!stream) return no_stream();
  EventState& state = *event->state;
  if (state.capture && !state.capture->active) return result(cudaErrorInvalidValue);
  if (stream->capture && stream->capture != state.capture) {
    stream->capture->invalid = true;
    return result(cudaErrorStreamCaptureIsolation);
  }
  if (state.capture) {
    stream->capture = state.capture;
    unite(stream->tail, state.nodes);
  } else {
    engine().push(lock, stream,
                  {.type = Command::Type::wait, .event = event->state, .count = state.recorded});
  }
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  (*event)->state->device = cuda_emulation::current_device();
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::unique_lock lock(engine().mutex);
  if (!stream) return no_stream();
  EventState& state = *event->state;
  if (state.device != stream->device)
    return result(cudaErrorInvalidResourceHandle, "an event of another device than the stream");
  state.capture = stream->capture;
  if (stream->capture) return state.nodes = stream->tail, cudaSuccess;
  const std::uint64_t count = ++state.recorded;
  engine().push(lock, stream,
                {.type = Command::Type::record, .event = event->state, .count = count});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::unique_lock lock(engine().mutex);
  EventState& state = *event->state;
  if (state.capture) return result(cudaErrorCapturedEvent);
  const Clock before = state.before;
  engine().wait(lock, [&, count = state.recorded] { return state.reached >= count; });
  engine().host_clock.join(before);
  return result(engine().sticky);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::scoped_lock lock(engine().mutex);
  if (event->state->capture) return result(cudaErrorCapturedEvent);
  engine().nudge();
  if (event->state->reached < event->state->recorded) return cudaErrorNotReady;
  engine().host_clock.join(event->state->before);
  return engine().sticky;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const std::scoped_lock lock(engine().mutex);
  for (const cudaEvent_t event : {start, end}) {
    if (event->state->recorded == 0) return result(cudaErrorInvalidResourceHandle);
    if (event->state->reached < event->state->recorded) return cudaErrorNotReady;
  }
  using Milliseconds = std::chrono::duration<float, std::milli>;
  *milliseconds = Milliseconds(end->state->time - start->state->time).count();
  return cudaSuccess;
}

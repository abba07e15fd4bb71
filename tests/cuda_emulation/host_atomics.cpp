/// What -fsanitize=thread makes of the atomic operations of host code that stands in a .cu file,
/// such as a shared_ptr's counter: the operations themselves.
#include <cstdint>

extern "C" {

std::int32_t __tsan_atomic32_fetch_add(volatile std::int32_t* counter, std::int32_t value, int) {
  return __atomic_fetch_add(counter, value, __ATOMIC_SEQ_CST);
}
std::int32_t __tsan_atomic32_fetch_sub(volatile std::int32_t* counter, std::int32_t value, int) {
  return __atomic_fetch_sub(counter, value, __ATOMIC_SEQ_CST);
}
std::int32_t __tsan_atomic32_load(const volatile std::int32_t* value, int) {
  return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}
std::int64_t __tsan_atomic64_load(const volatile std::int64_t* value, int) {
  return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}
std::int8_t __tsan_atomic8_load(const volatile std::int8_t* value, int) {
  return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

}  // extern "C"

// SPDX-License-Identifier: Apache-2.0
// For builds with the thread sanitizer only. The distribution's abseil is not instrumented: the sanitizer sees none of
// its locks and would report every field that one guards. The linker's --wrap sends our calls through here
// (DroidSpeakCompiler.cmake), where the sanitizer is told of them.
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace {

// What a thread did before such a call is seen by those who make one later: exact for Unlock then Lock, and generous
// for the rest.
class Ordered {
 public:
  explicit Ordered(const void* address) : address_(const_cast<void*>(address)) { __tsan_release(address_); }
  ~Ordered() { __tsan_acquire(address_); }

 private:
  void* const address_;
};

// Whoever gives the mutex up evaluates the conditions of those who wait for it, inside abseil: the mutex is theirs
// then.
struct TracedCondition {
  absl::Mutex* mutex;
  const absl::Condition* condition;

  __attribute__((no_sanitize("thread"))) static bool Eval(TracedCondition* self) {
    __tsan_acquire(self->mutex);
    const bool result = self->condition->Eval();
    __tsan_release(self->mutex);
    return result;
  }
};

}  // namespace

#define WRAP(type, symbol, parameters, arguments) \
  extern "C" type __real_##symbol parameters;     \
  extern "C" type __wrap_##symbol parameters;     \
  extern "C" type __wrap_##symbol parameters {    \
    const Ordered ordered(self);                  \
    return __real_##symbol arguments;             \
  }

// A lock that would publish this thread's past before it is held could hide a race: it only acquires.
#define WRAP_LOCK(symbol)                              \
  extern "C" void __real_##symbol(absl::Mutex* self);  \
  extern "C" void __wrap_##symbol(absl::Mutex* self);  \
  extern "C" void __wrap_##symbol(absl::Mutex* self) { \
    __real_##symbol(self);                             \
    __tsan_acquire(self);                              \
  }
#define WRAP_UNLOCK(symbol)                            \
  extern "C" void __real_##symbol(absl::Mutex* self);  \
  extern "C" void __wrap_##symbol(absl::Mutex* self);  \
  extern "C" void __wrap_##symbol(absl::Mutex* self) { \
    __tsan_release(self);                              \
    __real_##symbol(self);                             \
  }

WRAP_LOCK(_ZN4absl7debian35Mutex4LockEv)
WRAP_LOCK(_ZN4absl7debian35Mutex10ReaderLockEv)
WRAP_UNLOCK(_ZN4absl7debian35Mutex6UnlockEv)
WRAP_UNLOCK(_ZN4absl7debian35Mutex12ReaderUnlockEv)
#define WRAP_AWAIT(type, symbol, parameters, arguments)               \
  extern "C" type __real_##symbol parameters;                         \
  extern "C" type __wrap_##symbol parameters;                         \
  extern "C" type __wrap_##symbol parameters {                        \
    const Ordered ordered(self);                                      \
    TracedCondition traced{self, &original};                          \
    const absl::Condition condition(&TracedCondition::Eval, &traced); \
    return __real_##symbol arguments;                                 \
  }

WRAP_AWAIT(void, _ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE, (absl::Mutex * self, const absl::Condition& original),
           (self, condition))
WRAP_AWAIT(bool, _ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE,
           (absl::Mutex * self, const absl::Condition& original, absl::Duration timeout), (self, condition, timeout))
WRAP_AWAIT(bool, _ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE,
           (absl::Mutex * self, const absl::Condition& original, absl::Time deadline), (self, condition, deadline))
WRAP(void, _ZN4absl7debian312Notification6NotifyEv, (absl::Notification * self), (self))
WRAP(void, _ZNK4absl7debian312Notification19WaitForNotificationEv, (const absl::Notification* self), (self))
WRAP(bool, _ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE,
     (const absl::Notification* self, absl::Duration timeout), (self, timeout))

// What libraries that were not built for the sanitizer do to memory says nothing: it does not see their locks.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() {
  return "ignore_noninstrumented_modules=1";
}

// The memory that these libraries copy is ordered by locks of theirs that the sanitizer does not see either.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:librocksdb.so\n"
         "called_from_lib:libabsl_graphcycles_internal.so\n"
         "race:^rocksdb::\n"  // inline functions of its headers
         // What moves a function object: gRPC's thread pools call our copy of it under locks of their own.
         "race:internal_any_invocable::LocalManagerTrivial\n"
         "race:internal_any_invocable::RemoteManagerTrivial\n"
         "race:rocksdb::DbPath\n";
}

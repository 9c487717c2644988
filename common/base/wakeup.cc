// SPDX-License-Identifier: Apache-2.0
#include "common/base/wakeup.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "absl/time/clock.h"
#include "common/base/check.h"

namespace droidspeak {

Wakeup::Wakeup() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  DROIDSPEAK_CHECK(fd_ >= 0);
}

Wakeup::~Wakeup() {
  close(fd_);
}

void Wakeup::Notify() const {
  const int saved = errno;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then fd() is readable already.
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
  errno = saved;
}

bool Wakeup::Drain() const {
  uint64_t count = 0;
  return read(fd_, &count, sizeof(count)) == sizeof(count);
}

bool Wakeup::Wait(absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  pollfd entry{fd_, POLLIN, 0};
  do {
    const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
    const timespec spec = absl::ToTimespec(std::min(left, absl::Hours(24)));
    if (ppoll(&entry, 1, &spec, nullptr) > 0 && Drain()) return true;
  } while (absl::Now() < deadline);
  return false;
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// What the two processes of the raw benchmark say to each other.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "bench/raw_load.h"

namespace droidspeak::bench {

struct RawRequest {
  RawDirection direction;
};

// Sent after each layer (pushes: its bytes have landed) and at the end.
struct RawReply {
  uint32_t layers_done;
  uint32_t finished;
  double cpu_seconds;  // of the server, since the request
};

template <typename T>
absl::Span<const std::byte> BytesOf(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof(value)};
}

template <typename T>
bool ReadAs(absl::Span<const std::byte> bytes, T& value) {
  if (bytes.size() != sizeof(value)) return false;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return true;
}

// Seconds of user and kernel time that this process has used.
inline double OwnCpuSeconds() {
  rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * t.tv_usec; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace droidspeak::bench

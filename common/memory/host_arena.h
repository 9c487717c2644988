// SPDX-License-Identifier: Apache-2.0
// Host memory for pools and for clients' regions: one mapping, present from the start, and an fd to share it by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace droidspeak {

// A memfd, mapped shared and read-write, sealed against any change of its size, so that whoever maps the fd can't be
// made to fault by its owner. Uses reserved huge pages when enough are free, else asks for transparent ones. Every page
// is faulted in at creation, by several threads: first fills into fresh memory run at a tenth of memory speed.
//
// Owns mapping and fd; both go with it. Immutable after creation; the bytes are the user's to synchronise.
class HostArena {
 public:
  // `bytes` is rounded up to whole pages. RESOURCE_EXHAUSTED when there is not that much memory. `name` shows in
  // /proc/PID/maps.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HostArena>> Create(std::string_view name, uint64_t bytes);
  ~HostArena();
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;

  std::byte* base() const { return base_; }
  uint64_t bytes() const { return bytes_; }
  int fd() const { return fd_; }
  // Size of the pages that back it: 4 KiB, or that of the reserved huge pages.
  uint64_t page_bytes() const { return page_bytes_; }
  absl::Span<std::byte> span() const { return {base_, bytes_}; }

 private:
  HostArena(std::byte* base, uint64_t bytes, int fd, uint64_t page_bytes)
      : base_(base), bytes_(bytes), fd_(fd), page_bytes_(page_bytes) {}

  std::byte* const base_;
  const uint64_t bytes_;
  const int fd_;
  const uint64_t page_bytes_;
};

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// Owners of what libibverbs hands out, counted, so that operators and tests see that nothing leaks.
#pragma once

#include <errno.h>
#include <infiniband/verbs.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/base/files.h"
#include "common/transport/transport.h"

namespace droidspeak::verbs {

enum class Resource { kProtectionDomain, kMemoryRegion, kCompletionQueue, kQueuePair, kCount };

// How many there are of each in this process. Thread-safe.
inline std::array<std::atomic<int64_t>, static_cast<size_t>(Resource::kCount)> resource_counts{};
// Connections that ended because an end touched memory of the other that it had no right to. Thread-safe.
inline std::atomic<int64_t> remote_access_errors{0};

template <typename T, int (*destroy)(T*), Resource resource>
struct Destroy {
  void operator()(T* one) const {
    (void)destroy(one);  // fails only for what is in use, which owners see to
    --resource_counts[static_cast<size_t>(resource)];
  }
};

template <typename T, int (*destroy)(T*), Resource resource>
using Owned = std::unique_ptr<T, Destroy<T, destroy, resource>>;

using ProtectionDomain = Owned<ibv_pd, ibv_dealloc_pd, Resource::kProtectionDomain>;
using Registration = Owned<ibv_mr, ibv_dereg_mr, Resource::kMemoryRegion>;
using CompletionQueue = Owned<ibv_cq, ibv_destroy_cq, Resource::kCompletionQueue>;
using OwnedQueuePair = Owned<ibv_qp, ibv_destroy_qp, Resource::kQueuePair>;

// Takes what a call of libibverbs returned; a null pointer is a status of errno, met while doing `what`.
template <typename T, int (*destroy)(T*), Resource resource>
[[nodiscard]] absl::Status Take(T* made, std::string_view what, Owned<T, destroy, resource>& owner) {
  if (made == nullptr) return ErrnoStatus(errno, what);
  ++resource_counts[static_cast<size_t>(resource)];
  owner.reset(made);
  return absl::OkStatus();
}

// For descriptors that are read until they have nothing more.
[[nodiscard]] absl::Status MakeNonBlocking(int fd);

// What makes visible what RDMA has written to `memory`; null where nothing is needed.
inline auto FlushOf(const MemoryRegion& memory) -> void (*)() {
  return memory.device.has_value() ? memory.device->flush : nullptr;
}

// Registers `memory` with the rights `access` (IBV_ACCESS_…): RDMA reaches it at its `base`. RESOURCE_EXHAUSTED says
// how much memory the process may lock when that is too little; UNIMPLEMENTED: another device's memory, which this one
// does not reach.
[[nodiscard]] absl::StatusOr<Registration> RegisterMemory(ibv_pd* domain, const MemoryRegion& memory, int access);

}  // namespace droidspeak::verbs

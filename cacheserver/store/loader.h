// SPDX-License-Identifier: Apache-2.0
// Reads extents from RocksDB on threads of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cacheserver/store/core.h"
#include "cacheserver/store/read_failures.h"
#include "common/base/thread.h"

namespace droidspeak {

// Thread-safe. Into a slot of the pool when one is free at once, else into a staging buffer, for which a load waits
// without holding anything.
class Loader {
 public:
  // Called when there was no slot for a load of a tenant, in the pool or in its quota: so that later ones find one.
  using WantRoomFunction = std::function<void(TenantEntry& tenant, uint64_t bytes)>;
  Loader(StoreCore* core, WantRoomFunction want_room);
  ~Loader() { Stop(); }
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // See ExtentStore::Load. The caller keeps a reference on the block.
  void Load(Block* block, ExtentSelector extent, ExtentStore::LoadCallback done);
  // Fails what waits with UNAVAILABLE and joins the threads. Idempotent.
  void Stop();

 private:
  struct Task {
    Block* block;
    ExtentSelector extent;
    uint64_t bytes;
    uint64_t checksum;  // as the index has it, once a buffer was found
    std::byte* buffer;  // null: not yet allocated
    bool staging;
    ExtentStore::LoadCallback done;
  };
  void Run();
  // False once there is nothing left to do.
  bool WaitForTask();
  bool Take(Task& task);
  // True when the task is to be read into its buffer; else it has ended or waits for a buffer.
  bool FindBuffer(Task& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(order_mutex_);
  void Finish(Task& task, absl::Status read);
  void AwaitStaging(Task task);
  void End(const Task& task, absl::StatusOr<HostExtent> result);
  [[nodiscard]] absl::Status Judge(const Task& task, absl::Status failed);
  void DropCorrupt(const Task& task, const absl::Status& status);
  void FreeBuffer(const Task& task);

  StoreCore* const core_;
  const WantRoomFunction want_room_;
  absl::Mutex order_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  absl::Mutex mutex_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  ReadFailures failures_;
  std::vector<std::unique_ptr<Thread>> threads_;
};

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// Gives the space of what was removed from disk back, on a thread of its own: nobody's fill or load waits for it unless
// the disk's limit is reached.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cacheserver/store/core.h"
#include "common/base/thread.h"

namespace droidspeak {

// Thread-safe. Without a RocksDB tier it does nothing.
class Compactor {
 public:
  explicit Compactor(StoreCore* core);
  ~Compactor() { Stop(); }
  Compactor(const Compactor&) = delete;
  Compactor& operator=(const Compactor&) = delete;

  // Something was removed on disk: compacts when garbage is a large part of what the tier may hold.
  void NoteRemoval();
  // True when so many bytes more stay within the limit: at once, or after compactions for which it waits.
  bool AwaitRoom(uint64_t bytes);
  // Waits until what was noted has been looked at.
  void Drain();
  // Breaks a compaction off and joins the thread. Idempotent.
  void Stop();

 private:
  void Run();
  // One round: files without anything alive cost nothing; then the oldest, which have most garbage, are rewritten.
  void CompactOnce(bool urgent);
  uint64_t GarbageBytes() const;
  bool MuchGarbage() const;

  StoreCore* const core_;
  absl::Mutex mutex_;
  bool due_ ABSL_GUARDED_BY(mutex_) = true;  // an earlier run may have left garbage
  bool urgent_ ABSL_GUARDED_BY(mutex_) = false;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t rounds_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> stopping_{false};
  std::unique_ptr<Thread> thread_;
};

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// Storing off the path of the tokens: a forward leaves copies of its exact tensors, a thread of its own offers, sums up
// and sends them.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/thread.h"
#include "engine/prefill/capture.h"
#include "engine/prefill/store_back.h"

namespace droidspeak {

class QueuedStore;

struct StoreQueueOptions {
  int64_t copy_bytes = int64_t{1} << 30;     // copies that wait for the thread
  int64_t staging_bytes = int64_t{2} << 30;  // registered memory of all sequences that are being stored
  int64_t each_staging_bytes = 64 << 20;     // of one, or what a block of all layers needs
  int64_t flush_bytes = 1 << 20;             // copies that are worth waking the thread for
};

// Owns the thread and the copies that wait for it. A sequence that would exceed the limits is not stored, or not any
// further: no server's slowness holds up an answer or takes memory. Thread-safe. `cache` and `config` outlive it.
class StoreQueue {
 public:
  StoreQueue(RemoteCache& cache, const ModelConfig& config, const StoreQueueOptions& options = {});
  // Ends after the task under way; Drain first for what is still queued.
  ~StoreQueue();
  StoreQueue(const StoreQueue&) = delete;
  StoreQueue& operator=(const StoreQueue&) = delete;

  // The sink of one sequence, which begins with `tokens`; its max_staging_bytes is the queue's. Must not outlive the
  // queue.
  [[nodiscard]] std::unique_ptr<QueuedStore> Open(absl::Span<const int32_t> tokens, StoreBackOptions options);

  // Waits until nothing is queued; false when something was still at `deadline`.
  bool Drain(absl::Time deadline);

  [[nodiscard]] int64_t queued_bytes() const;
  // Sequences that were cut short for want of memory.
  [[nodiscard]] int64_t cut_short() const { return cut_short_.load(std::memory_order_relaxed); }

 private:
  friend class QueuedStore;
  // Rows of one forward from `row` on, of some of its layers. Or tokens that follow in the sequence.
  struct Step {
    struct Layer {
      LayerKv kv;  // of the memory; what is not stored has no rows to be read
      std::unique_ptr<std::byte[]> memory;
    };
    std::vector<int32_t> tokens;
    int64_t row = 0;
    std::vector<Layer> layers;
    int64_t bytes = 0;  // of the layers
  };

  // One sequence's store, as the thread has it.
  struct Stream {
    int64_t staging_bytes = 0;
    bool begun = false;                 // it counts; guarded by the queue's mutex
    std::unique_ptr<StoreBack> store;   // null: not begun, or it could not be
    std::atomic<bool> ended{false};     // nothing more is of use
    std::atomic<int64_t> first_row{0};  // rows before it are not wanted
  };
  struct Task {
    std::shared_ptr<Stream> stream;
    std::function<void()> begin;  // makes the store
    std::vector<Step> steps;
    bool end = false;
    int64_t bytes = 0;  // reserved, until it is done
  };

  // For copies; false when they would exceed the limit.
  bool Reserve(int64_t bytes);
  void Release(int64_t bytes);
  // False when one that begins finds no staging memory; its bytes are released.
  bool Post(Task task);
  void CutShort(Stream& stream);
  void Run(const std::stop_token& stop);
  void Do(Task& task);

  RemoteCache& cache_;
  const ModelConfig& config_;
  const StoreQueueOptions options_;
  std::atomic<int64_t> cut_short_{0};
  mutable absl::Mutex mutex_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of copies
  int64_t staging_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;
};

// Destroyed: the sequence is complete, and what it has in full blocks is stored. Used by one thread.
class QueuedStore : public CaptureSink {
 public:
  ~QueuedStore() override;

  absl::Status OnLayer(const LayerKv& kv, int64_t row) override;
  // That a forward should have at most, so that the copies of several find room.
  [[nodiscard]] int64_t most_rows() const { return most_rows_; }
  // The sequence's next token, before its row is computed.
  void Append(int32_t token);

 private:
  friend class StoreQueue;
  QueuedStore(StoreQueue& queue, std::shared_ptr<StoreQueue::Stream> stream, const StoreBackOptions& options,
              int64_t most_rows);

  void Flush(bool end);
  // The step that takes the layer of a forward that begins with `row`. What an earlier one left here that did not get
  // to its last layer is dropped: its rows come again.
  StoreQueue::Step& StepOf(int64_t layer, int64_t row);
  // False when nothing is stored any more: then nothing is held either.
  [[nodiscard]] bool goes_on();

  StoreQueue& queue_;
  const std::shared_ptr<StoreQueue::Stream> stream_;
  const std::vector<int64_t> kv_layers_, e_layers_;
  const int64_t e_bytes_, k_bytes_;  // of a row; k_bytes_ those of V, too
  const int64_t last_layer_;         // that is stored
  const int64_t most_rows_;
  std::vector<StoreQueue::Step> steps_;  // not posted yet: a token's row is too little to wake a thread for
  int64_t bytes_ = 0;                    // of them
  int64_t tokens_ = 0;                   // among them
};

}  // namespace droidspeak

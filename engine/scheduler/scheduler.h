// SPDX-License-Identifier: Apache-2.0
// Continuous batching: one thread that computes, in turn, a step of one prompt and a token of every answer.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/thread.h"
#include "engine/model/model.h"
#include "engine/scheduler/context_opener.h"
#include "engine/scheduler/engine_metrics.h"
#include "engine/scheduler/generation.h"
#include "engine/scheduler/prefix_cache.h"
#include "engine/scheduler/served_sequence.h"

namespace droidspeak {

struct SchedulerOptions {
  int64_t slots = 0;              // of the slab: tokens whose KV is kept
  int64_t max_running = 64;       // answers that have slots, and so the rows of a decoding step
  int64_t max_waiting = 256;      // answers beyond these
  std::vector<int64_t> e_layers;  // whose E is stored for other models
};

// Answers requests in the order of their arrival, as far as slots are free:
//   waiting    has no slots. First in, first out.
//   running    has a run of slots, which grows with the answer. Prompts are read one after the other, in steps of a
//              bounded number of rows; after each step every answer that is being written gets its next token.
// What an answer that has ended leaves in the slab serves later prompts that begin alike (PrefixCache), until the slots
// are needed. When there are none for an answer to grow into, the answer that arrived last is put back into the queue,
// and its tokens so far are read again later. Of those that use another model's cache none is, as long as there is one
// that doesn't: what is read again is read by full prefill, and the listener hears of it.
//
// Owns the slab and its thread. Submit may be called from any thread.
class Scheduler {
 public:
  // Without `contexts` and `stores`, which outlive it, there are no cache servers.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Scheduler>> Start(std::shared_ptr<const Model> model,
                                                                        ContextOpener* contexts, StoreQueue* stores,
                                                                        EngineMetrics& metrics,
                                                                        SchedulerOptions options);
  // Ends all answers (kCancelled).
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Queues answers to one prompt: all of them or none. RESOURCE_EXHAUSTED: the queue is full. UNAVAILABLE: draining.
  // INVALID_ARGUMENT: prompt or answer is empty, or both are longer than max_tokens().
  [[nodiscard]] absl::Status Submit(std::vector<GenerationRequest> answers);

  // Wakes the thread to see that a listener wants its answer no longer.
  void Wake();

  // Tokens that a prompt and its answer may have together.
  [[nodiscard]] int64_t max_tokens() const { return max_tokens_; }

  // Takes no more requests, and waits until all have ended; false when some had not by `deadline`.
  bool Drain(absl::Time deadline);

  // Ends all answers (kCancelled), and returns when their listeners have heard.
  void EndAnswers() { thread_.Stop(); }

  // For metrics: sets the gauges.
  void UpdateLoad();

 private:
  using Sequences = std::list<std::unique_ptr<ServedSequence>>;
  struct Opened {
    ServedSequence* sequence;
    OpenedContext context;
  };

  Scheduler(std::shared_ptr<const Model> model, std::unique_ptr<KvSlab> slab, ContextOpener* contexts,
            StoreQueue* stores, EngineMetrics& metrics, SchedulerOptions options);

  void Run();
  // Takes over what came in; with nothing to compute sleeps until something does. False: the end.
  [[nodiscard]] bool Collect();
  void DropUnwanted();
  void ForgetEnded();
  void Pass();
  void EndAll();
  void FailRunning(const absl::Status& status);
  void CloseSource(ServedSequence& sequence);

  // Waiting to running.
  void Admit();
  [[nodiscard]] bool MayBegin(const ServedSequence& sequence) const;
  void Begin(ServedSequence& sequence, SlotRun run);
  void OpenContext(ServedSequence& sequence);
  void TakeContext(ServedSequence& sequence, OpenedContext context);

  // Prompts.
  [[nodiscard]] ServedSequence* NextPrompt();
  void PromptStep(ServedSequence& sequence);
  [[nodiscard]] absl::Status StartPrefill(ServedSequence& sequence);
  void OpenStore(ServedSequence& sequence);
  void ReuseResident(ServedSequence& sequence);
  void FinishPrompt(ServedSequence& sequence);

  // Answers.
  void DecodeStep();
  [[nodiscard]] std::vector<ServedSequence*> DecodeBatch();
  void AddToken(ServedSequence& sequence, const Choice& choice);

  // Slots.
  [[nodiscard]] absl::StatusOr<SlotRun> Allocate(int64_t count);
  // Gets it slots for another row, or puts it back into the queue.
  void Grow(ServedSequence& sequence);
  [[nodiscard]] bool TryGrow(ServedSequence& sequence, int64_t count);
  void PreemptOne();
  void KeepRows(ServedSequence& sequence);
  // Where the longest exact beginning of its tokens stands, in a kept run or another answer's; all but the last token
  // at most.
  PrefixCache::Found FindPrefix(const ServedSequence& sequence);
  [[nodiscard]] KvKind KindOf(const ServedSequence& sequence) const;
  [[nodiscard]] bool IsSharable(const ServedSequence& sequence) const;

  void End(ServedSequence& sequence, EndReason reason, const absl::Status& status);
  [[nodiscard]] bool is_decoding() const;

  const std::shared_ptr<const Model> model_;
  const std::unique_ptr<KvSlab> slab_;
  ContextOpener* const contexts_;
  StoreQueue* const stores_;
  EngineMetrics& metrics_;
  const SchedulerOptions options_;
  const int64_t max_tokens_;
  const Plan full_;

  // Of the thread.
  PrefixCache kept_;
  Sequences waiting_, running_;  // in the order of arrival
  bool freed_ = false;           // slots, in this pass: one that waits may begin

  absl::Mutex mutex_;
  Sequences incoming_ ABSL_GUARDED_BY(mutex_);
  std::vector<Opened> opened_ ABSL_GUARDED_BY(mutex_);
  int64_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;  // answers that have not ended
  int64_t running_count_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t used_slots_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t kept_slots_ ABSL_GUARDED_BY(mutex_) = 0;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;
};

}  // namespace droidspeak

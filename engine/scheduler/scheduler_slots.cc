// SPDX-License-Identifier: Apache-2.0
// Who has slots of the slab: sequences that run, and rows that are kept for prompts to come.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/check.h"
#include "engine/scheduler/scheduler.h"
#include "engine/scheduler/tunables.h"

namespace droidspeak {

using State = ServedSequence::State;

// Gives up its slots; the rows that are exact may serve others.
void Scheduler::KeepRows(ServedSequence& sequence) {
  if (sequence.run.count == 0) return;
  if (sequence.exact_rows > 0 && IsSharable(sequence)) {
    std::vector<int32_t> exact = sequence.tokens;
    exact.resize(sequence.exact_rows);
    kept_.Keep(sequence.run, std::move(exact), KindOf(sequence));
  } else {
    slab_->Release(sequence.run);
  }
  sequence.run = {};
}

KvKind Scheduler::KindOf(const ServedSequence& sequence) const {
  return {.adapter = sequence.adapter(), .regime = RegimeOf(model_->config().rope, sequence.reach)};
}

bool Scheduler::IsSharable(const ServedSequence& sequence) const {
  return droidspeak::IsSharable(model_->config().rope, sequence.reach);
}

// Slots of sequences that have ended are given up one by one, unless that would be in vain.
absl::StatusOr<SlotRun> Scheduler::Allocate(int64_t count) {
  absl::StatusOr<SlotRun> run = slab_->Allocate(count);
  if (run.ok() || !slab_->CouldAllocate(count, kept_.runs())) return run;
  while (!run.ok() && kept_.EvictOne()) run = slab_->Allocate(count);
  return run;
}

// Where the next slots are taken the rows move: copying them costs less than one token's forward.
bool Scheduler::TryGrow(ServedSequence& sequence, int64_t count) {
  const std::vector<SlotRun> kept = kept_.runs();
  const bool possible = slab_->CouldExtend(sequence.run, count, kept) || slab_->CouldAllocate(count, kept);
  while (possible) {
    if (slab_->Extend(sequence.run, count)) return true;
    if (const absl::StatusOr<SlotRun> run = slab_->Allocate(count); run.ok()) {
      slab_->Copy(sequence.run.first, run->first, sequence.rows);
      slab_->Release(sequence.run);
      sequence.run = *run;
      return true;
    }
    if (!kept_.EvictOne()) break;
  }
  return false;
}

void Scheduler::Grow(ServedSequence& sequence) {
  while (sequence.state == State::kDecoding) {
    for (const int64_t more : {kGrowthSlots, kLeastGrowthSlots}) {
      if (TryGrow(sequence, std::min(sequence.reach, sequence.rows + more))) return;
    }
    PreemptOne();
  }
}

// The one that arrived last, of those that use no other model's cache if there is one.
void Scheduler::PreemptOne() {
  auto chosen = running_.end();
  for (auto at = running_.begin(); at != running_.end(); ++at) {
    const ServedSequence& sequence = **at;
    if (sequence.ended || sequence.state != State::kDecoding) continue;
    if (chosen == running_.end() ||
        std::pair(sequence.is_exact(), sequence.arrived) >= std::pair((*chosen)->is_exact(), (*chosen)->arrived)) {
      chosen = at;
    }
  }
  DROIDSPEAK_CHECK(chosen != running_.end());  // at least the one that wants to grow
  ServedSequence& sequence = **chosen;
  if (!sequence.is_exact()) {
    sequence.report.fallback =
        absl::StrCat("put back after ", sequence.answer_tokens(), " tokens, and read again by full prefill");
    sequence.request.listener->OnPrompt(sequence.report);
  }
  KeepRows(sequence);
  sequence.rows = sequence.exact_rows = 0;
  sequence.sender = nullptr;
  sequence.state = State::kWaiting;
  waiting_.splice(waiting_.begin(), running_, chosen);
  metrics_.Preempted();
}

PrefixCache::Found Scheduler::FindPrefix(const ServedSequence& sequence) {
  if (!IsSharable(sequence)) return {};
  const absl::Span<const int32_t> wanted(sequence.tokens.data(), sequence.tokens.size() - 1);
  const KvKind kind = KindOf(sequence);
  PrefixCache::Found found = kept_.Find(wanted, kind);
  for (const auto& other : running_) {
    if (other.get() == &sequence || other->ended || KindOf(*other) != kind || !IsSharable(*other)) continue;
    const int64_t rows = CommonPrefix(absl::MakeConstSpan(other->tokens).subspan(0, other->exact_rows), wanted);
    if (rows > found.rows) found = {.first_slot = other->run.first, .rows = rows};
  }
  // The block that it ends in is computed whole: a part of it can't be stored, and without it nobody finds what
  // follows.
  const NamespaceHandle* const stored = stores_ == nullptr ? nullptr : sequence.request.model->own.For(sequence.reach);
  if (stored != nullptr) found.rows -= found.rows % stored->layout.block_tokens;
  return found;
}

}  // namespace droidspeak

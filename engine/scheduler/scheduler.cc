// SPDX-License-Identifier: Apache-2.0
// The queue and the loop. What the loop's steps compute is in scheduler_steps.cc, who has slots in scheduler_slots.cc.
#include "engine/scheduler/scheduler.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "engine/model/torch_types.h"

namespace droidspeak {

using State = ServedSequence::State;

absl::StatusOr<std::unique_ptr<Scheduler>> Scheduler::Start(std::shared_ptr<const Model> model, ContextOpener* contexts,
                                                            StoreQueue* stores, EngineMetrics& metrics,
                                                            SchedulerOptions options) {
  ASSIGN_OR_RETURN(std::unique_ptr<KvSlab> slab,
                   KvSlab::Create(model->config(), model->dtype(), options.slots, std::numeric_limits<int64_t>::max()));
  return std::unique_ptr<Scheduler>(
      new Scheduler(std::move(model), std::move(slab), contexts, stores, metrics, std::move(options)));
}

Scheduler::Scheduler(std::shared_ptr<const Model> model, std::unique_ptr<KvSlab> slab, ContextOpener* contexts,
                     StoreQueue* stores, EngineMetrics& metrics, SchedulerOptions options)
    : model_(std::move(model)),
      slab_(std::move(slab)),
      contexts_(contexts),
      stores_(stores),
      metrics_(metrics),
      options_(std::move(options)),
      // The last token of an answer needs no slot.
      max_tokens_(std::min(model_->config().max_positions, slab_->slots() + 1)),
      full_(Plan::Full(model_->config().layers)),
      kept_(*slab_),
      thread_("scheduler", [this](const std::stop_token& stop) {
        const std::stop_callback wake(stop, [this] {
          absl::MutexLock lock(&mutex_);
          stopping_ = true;
        });
        Run();
      }) {}

Scheduler::~Scheduler() {
  thread_.Stop();
}

absl::Status Scheduler::Submit(std::vector<GenerationRequest> answers) {
  Sequences sequences;
  const auto prompt_read = std::make_shared<bool>(false);
  for (GenerationRequest& answer : answers) {
    DROIDSPEAK_CHECK(answer.model != nullptr);
    const auto prompt = static_cast<int64_t>(answer.prompt.size());
    if (prompt < 1 || answer.max_tokens < 1) {
      return absl::InvalidArgumentError("a prompt and an answer have at least one token");
    }
    if (prompt > max_tokens_ || answer.max_tokens > max_tokens_ - prompt) {
      return absl::InvalidArgumentError(absl::StrCat("a prompt of ", prompt, " tokens and an answer of ",
                                                     answer.max_tokens, " are more than the limit of ", max_tokens_,
                                                     " tokens"));
    }
    auto sequence = std::make_unique<ServedSequence>(std::move(answer));
    sequence->reach = prompt + sequence->request.max_tokens - 1;
    sequence->arrived = absl::Now();
    sequence->prompt_read = prompt_read;
    sequence->is_first = sequences.empty();
    sequences.push_back(std::move(sequence));
  }
  absl::MutexLock lock(&mutex_);
  if (draining_ || stopping_) return absl::UnavailableError("the engine is shutting down");
  const auto more = static_cast<int64_t>(sequences.size()), most = options_.max_running + options_.max_waiting;
  if (in_flight_ + more > most) {
    metrics_.Rejected(more);
    return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", in_flight_,
                                                     " answers are under way or wait, ", more,
                                                     " more are asked for, and ", most, " is the limit"));
  }
  in_flight_ += more;
  incoming_.splice(incoming_.end(), sequences);
  return absl::OkStatus();
}

void Scheduler::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

bool Scheduler::Drain(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return in_flight_ == 0; };
  return mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline);
}

void Scheduler::UpdateLoad() {
  absl::MutexLock lock(&mutex_);
  metrics_.Load(std::max<int64_t>(0, in_flight_ - running_count_), running_count_, used_slots_ - kept_slots_,
                kept_slots_);
}

void Scheduler::Run() {
  while (Collect()) {
    const absl::Status passed = WithoutExceptions("scheduling", [this] {
      Pass();
      return absl::OkStatus();
    });
    if (!passed.ok()) FailRunning(passed);
  }
  EndAll();
}

void Scheduler::Pass() {
  DropUnwanted();
  Admit();
  if (ServedSequence* const prompt = NextPrompt()) PromptStep(*prompt);
  DecodeStep();
  ForgetEnded();
}

// Something threw in the midst of a pass: whose it was is not known, and what the others have is not trusted.
void Scheduler::FailRunning(const absl::Status& status) {
  for (const auto& sequence : running_) {
    if (sequence->state == State::kOpening || sequence->ended) continue;
    sequence->exact_rows = 0;
    End(*sequence, EndReason::kFailed, status);
  }
  ForgetEnded();
}

bool Scheduler::Collect() {
  std::vector<Opened> opened;
  {
    const bool computing = std::any_of(running_.begin(), running_.end(), [](const auto& sequence) {
      return sequence->state == State::kPrefilling || sequence->state == State::kDecoding;
    });
    // With nothing running the first of those that wait can begin.
    const bool busy = computing || (!waiting_.empty() && (freed_ || running_.empty()));
    freed_ = false;
    absl::MutexLock lock(&mutex_);
    running_count_ = static_cast<int64_t>(running_.size());
    used_slots_ = slab_->used_slots();
    kept_slots_ = kept_.slots();
    const auto called = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopping_ || woken_ || !incoming_.empty() || !opened_.empty();
    };
    if (!busy) mutex_.Await(absl::Condition(&called));
    woken_ = false;
    if (stopping_) return false;
    waiting_.splice(waiting_.end(), incoming_);
    opened.swap(opened_);
  }
  for (Opened& one : opened) TakeContext(*one.sequence, std::move(one.context));
  return true;
}

void Scheduler::DropUnwanted() {
  for (Sequences* const list : {&waiting_, &running_}) {
    for (const auto& sequence : *list) {
      // A context that is being looked up has to come back first.
      if (sequence->state == State::kOpening || sequence->request.listener->wanted()) continue;
      End(*sequence, EndReason::kCancelled, absl::OkStatus());
    }
  }
  ForgetEnded();
}

void Scheduler::ForgetEnded() {
  for (Sequences* const list : {&waiting_, &running_}) {
    list->remove_if([](const auto& sequence) { return sequence->ended; });
  }
}

void Scheduler::EndAll() {
  const auto opening = std::count_if(running_.begin(), running_.end(),
                                     [](const auto& sequence) { return sequence->state == State::kOpening; });
  {
    absl::MutexLock lock(&mutex_);
    const auto back = [this, opening]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return static_cast<std::ptrdiff_t>(opened_.size()) >= opening;
    };
    mutex_.Await(absl::Condition(&back));
    opened_.clear();
    waiting_.splice(waiting_.end(), incoming_);
  }
  for (Sequences* const list : {&running_, &waiting_}) {
    for (const auto& sequence : *list) End(*sequence, EndReason::kCancelled, absl::OkStatus());
    list->clear();
  }
}

// The transfers that it may have to wait for are not this thread's to end.
void Scheduler::CloseSource(ServedSequence& sequence) {
  sequence.prefill.reset();
  if (contexts_ != nullptr) contexts_->Close(std::move(sequence.source));
  sequence.source.reset();
}

void Scheduler::End(ServedSequence& sequence, EndReason reason, const absl::Status& status) {
  CloseSource(sequence);
  sequence.store.reset();
  KeepRows(sequence);
  if (sequence.is_first) *sequence.prompt_read = true;  // or it never will be
  sequence.ended = true;
  freed_ = true;
  metrics_.End(reason);
  sequence.request.listener->OnEnd(reason, status);
  absl::MutexLock lock(&mutex_);
  --in_flight_;
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// What the scheduler's loop computes: beginning a prompt, a step of it, a token of every answer.
#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/model/forward.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/decode.h"
#include "engine/prefill/resident_source.h"
#include "engine/scheduler/scheduler.h"
#include "engine/scheduler/tunables.h"

namespace droidspeak {
namespace {

using State = ServedSequence::State;

int64_t RoundUp(int64_t rows, int64_t block) {
  return (rows + block - 1) / block * block;
}

// Gives each row of a batch to its sequence's sink.
class BatchCapture : public ForwardHooks {
 public:
  explicit BatchCapture(const std::vector<ServedSequence*>& batch) : batch_(batch) {}

  absl::Status OnKv(const LayerKv& kv) override {
    for (size_t i = 0; i < batch_.size(); ++i) {
      if (batch_[i]->store == nullptr) continue;
      RETURN_IF_ERROR(batch_[i]->store->OnLayer(kv.From(static_cast<int64_t>(i), 1), batch_[i]->rows));
    }
    return absl::OkStatus();
  }

 private:
  const std::vector<ServedSequence*>& batch_;
};

}  // namespace

void Scheduler::Admit() {
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    ServedSequence& sequence = **at;
    if (static_cast<int64_t>(running_.size()) >= options_.max_running) return;
    if (!sequence.is_first && !*sequence.prompt_read) {
      ++at;
      continue;
    }
    if (!MayBegin(sequence)) return;
    (void)FindPrefix(sequence);  // so that it is not among the first to be given up
    const int64_t slots = static_cast<int64_t>(sequence.tokens.size()) + kGrowthSlots;
    const absl::StatusOr<SlotRun> run = Allocate(std::min(sequence.reach, slots));
    if (!run.ok()) return;  // its turn comes when others have ended
    running_.splice(running_.end(), waiting_, at++);
    Begin(sequence, *run);
  }
}

bool Scheduler::MayBegin(const ServedSequence& sequence) const {
  if (contexts_ == nullptr || !IsSharable(sequence)) return true;
  return std::count_if(running_.begin(), running_.end(), [](const auto& other) {
           return other->state == State::kOpening || other->state == State::kPrefilling;
         }) < kOpenContexts;
}

void Scheduler::Begin(ServedSequence& sequence, SlotRun run) {
  sequence.run = run;
  sequence.state = State::kPrefilling;
  const absl::Status made = WithoutExceptions("rotary embedding", [&] {
    sequence.rope = model_->RopeFor(sequence.reach);
    return absl::OkStatus();
  });
  if (!made.ok()) return End(sequence, EndReason::kFailed, made);
  if (contexts_ != nullptr && IsSharable(sequence)) OpenContext(sequence);
}

void Scheduler::OpenContext(ServedSequence& sequence) {
  const PrefixCache::Found found = FindPrefix(sequence);
  if (found.rows > 0) slab_->Copy(found.first_slot, sequence.run.first, found.rows);
  sequence.rows = sequence.exact_rows = found.rows;
  sequence.state = State::kOpening;
  contexts_->Open({.tokens = {sequence.tokens.begin(), sequence.tokens.end() - 1},
                   .reach = sequence.reach,
                   .resident_tokens = found.rows,
                   .own = &sequence.request.model->own,
                   .use_senders = sequence.answer_tokens() == 0,
                   .target = {.slab = slab_.get(), .rope = sequence.rope.get(), .first_slot = sequence.run.first},
                   .done = [this, &sequence](OpenedContext context) {
                     absl::MutexLock lock(&mutex_);
                     opened_.push_back({&sequence, std::move(context)});
                   }});
}

void Scheduler::TakeContext(ServedSequence& sequence, OpenedContext context) {
  sequence.state = State::kPrefilling;
  sequence.sender = context.sender;
  sequence.source = std::move(context.source);
  sequence.repairs = context.resident_tokens < sequence.exact_rows;
  sequence.rows = sequence.exact_rows = std::min(sequence.exact_rows, context.resident_tokens);
  // A sender's rows replace resident ones from the block on in which those end.
  if (sequence.source != nullptr) {
    sequence.rows = sequence.exact_rows = std::min(sequence.exact_rows, sequence.source->own_tokens());
  }
}

// One that would wait for its context lets others pass; when there is nothing else to do, waiting is a part of reading.
ServedSequence* Scheduler::NextPrompt() {
  // What arrives is placed as it comes, so that its staging memory takes the next.
  for (const auto& sequence : running_) {
    if (!sequence->ended && sequence->source != nullptr && sequence->state == State::kPrefilling) {
      sequence->source->Poll();
    }
  }
  ServedSequence* first = nullptr;
  for (const auto& sequence : running_) {
    if (sequence->ended || sequence->state != State::kPrefilling) continue;
    if (sequence->prefill == nullptr) {
      if (const absl::Status started = StartPrefill(*sequence); !started.ok()) {
        End(*sequence, EndReason::kFailed, started);
        continue;
      }
    }
    if (!sequence->prefill->WouldWait()) return sequence.get();
    if (first == nullptr) first = sequence.get();
  }
  return is_decoding() ? nullptr : first;
}

bool Scheduler::is_decoding() const {
  return std::any_of(running_.begin(), running_.end(),
                     [](const auto& sequence) { return !sequence->ended && sequence->state == State::kDecoding; });
}

// By now the slab may have more of the prompt than the servers.
void Scheduler::ReuseResident(ServedSequence& sequence) {
  if (sequence.repairs) return;
  const PrefixCache::Found found = FindPrefix(sequence);
  const int64_t of_source = sequence.source == nullptr ? 0 : sequence.source->tokens();
  if (found.rows > sequence.exact_rows && found.rows >= of_source) {
    slab_->Copy(found.first_slot, sequence.run.first, found.rows);
    sequence.rows = sequence.exact_rows = found.rows;
    CloseSource(sequence);
    sequence.sender = nullptr;
  }
  if (sequence.source == nullptr && sequence.exact_rows > 0) {
    sequence.source = std::make_unique<ResidentSource>(sequence.exact_rows);
  }
}

// Of an answer that uses another model's cache only the context's leading recomputed layers are exact.
void Scheduler::OpenStore(ServedSequence& sequence) {
  if (stores_ == nullptr || sequence.store != nullptr) return;
  const NamespaceHandle* const ns = sequence.request.model->own.For(sequence.reach);
  if (ns == nullptr) return;
  const int64_t exact_layers =
      sequence.sender == nullptr ? model_->config().layers : sequence.sender->plan.exact_layers();
  if (exact_layers == 0) return;
  StoreBackOptions options{.ns = *ns};
  for (int64_t layer = 0; layer < exact_layers; ++layer) options.kv_layers.push_back(layer);
  for (const int64_t layer : options_.e_layers) {
    if (layer < exact_layers) options.e_layers.push_back(layer);
  }
  // What is there already: a block that it ends in can't be completed here.
  const int64_t own = sequence.source == nullptr ? 0 : sequence.source->own_tokens();
  options.first_row = RoundUp(own, ns->layout.block_tokens);
  absl::Span<const int32_t> tokens = sequence.tokens;
  if (sequence.sender != nullptr) tokens = tokens.subspan(0, sequence.source->tokens());
  sequence.store = stores_->Open(tokens, std::move(options));
}

absl::Status Scheduler::StartPrefill(ServedSequence& sequence) {
  ReuseResident(sequence);
  OpenStore(sequence);
  ASSIGN_OR_RETURN(sequence.prefill,
                   PrefillSteps::Start(*model_, *slab_,
                                       {.tokens = sequence.tokens,
                                        .adapter = sequence.adapter(),
                                        .run = sequence.run,
                                        .reach = sequence.reach,
                                        .plan = sequence.sender == nullptr ? full_ : sequence.sender->plan,
                                        .source = sequence.source.get(),
                                        .capture = sequence.store.get()},
                                       absl::Now()));
  return absl::OkStatus();
}

void Scheduler::PromptStep(ServedSequence& sequence) {
  int64_t rows = is_decoding() ? kSharedStepTokens : kPrefillStepTokens;
  if (sequence.store != nullptr) rows = std::min(rows, sequence.store->most_rows());
  const absl::StatusOr<bool> done = sequence.prefill->Step(rows);
  if (!done.ok()) return End(sequence, EndReason::kFailed, done.status());
  if (*done) FinishPrompt(sequence);
}

void Scheduler::FinishPrompt(ServedSequence& sequence) {
  const PrefillResult result = sequence.prefill->TakeResult();
  CloseSource(sequence);
  const bool used_sender = sequence.sender != nullptr && result.context_tokens > result.own_tokens;
  sequence.rows = static_cast<int64_t>(sequence.tokens.size());
  sequence.exact_rows = used_sender ? result.own_tokens : sequence.rows;
  if (sequence.sender != nullptr) sequence.store.reset();  // it takes no rows of the answer
  sequence.state = State::kDecoding;
  *sequence.prompt_read = true;
  if (!std::exchange(sequence.reported, true)) {
    const Plan& plan = used_sender ? sequence.sender->plan : full_;
    sequence.report = {.plan = plan.text(),
                       .sender = used_sender ? sequence.sender->name : "",
                       .context_tokens = result.context_tokens,
                       .own_tokens = result.own_tokens,
                       .stats = result.stats,
                       .fallback = result.fallback};
    metrics_.Prompt(sequence.report, plan.recomputed_layers(), absl::Now() - sequence.arrived);
    sequence.request.listener->OnPrompt(sequence.report);
  }
  AddToken(sequence, sequence.sampler.Choose(LastRow(result.logits)));
}

void Scheduler::AddToken(ServedSequence& sequence, const Choice& choice) {
  const absl::Time now = absl::Now();
  if (sequence.answer_tokens() > 0) metrics_.Token(now - sequence.last_token);
  sequence.last_token = now;
  sequence.tokens.push_back(choice.token);
  if (sequence.store != nullptr) sequence.store->Append(choice.token);
  if (!sequence.request.listener->OnToken(choice)) {
    End(sequence, EndReason::kStop, absl::OkStatus());
  } else if (sequence.answer_tokens() == sequence.request.max_tokens) {
    End(sequence, EndReason::kLength, absl::OkStatus());
  }
}

std::vector<ServedSequence*> Scheduler::DecodeBatch() {
  std::vector<ServedSequence*> decoding;
  for (const auto& sequence : running_) {
    if (!sequence->ended && sequence->state == State::kDecoding) decoding.push_back(sequence.get());
  }
  // Growing may put any of them back into the queue, itself too.
  for (ServedSequence* const sequence : decoding) {
    if (sequence->state == State::kDecoding && sequence->rows == sequence->run.count) Grow(*sequence);
  }
  std::erase_if(decoding, [](const ServedSequence* sequence) { return sequence->state != State::kDecoding; });
  return decoding;
}

void Scheduler::DecodeStep() {
  const std::vector<ServedSequence*> batch = DecodeBatch();
  if (batch.empty()) return;
  std::vector<Row> rows;
  for (size_t i = 0; i < batch.size(); ++i) {
    const ServedSequence& sequence = *batch[i];
    rows.push_back({.token = sequence.tokens.back(),
                    .position = static_cast<int32_t>(sequence.rows),
                    .sequence = static_cast<int32_t>(i),
                    .slot = sequence.run.first + sequence.rows,
                    .rope = sequence.rope.get(),
                    .adapter = sequence.adapter()});
  }
  BatchCapture capture(batch);
  ForwardInput input;
  input.rows = rows;
  input.wanted = AllRows(rows);
  input.hooks = &capture;
  const absl::StatusOr<ForwardResult> result = Forward(*model_, *slab_, input);
  for (size_t i = 0; i < batch.size(); ++i) {
    ServedSequence& sequence = *batch[i];
    if (!result.ok()) {
      End(sequence, EndReason::kFailed, result.status());
      continue;
    }
    const bool exact = sequence.is_exact();
    ++sequence.rows;
    if (exact) ++sequence.exact_rows;
    AddToken(sequence, sequence.sampler.Choose(LastRow(result->logits[static_cast<int64_t>(i)])));
  }
}

}  // namespace droidspeak

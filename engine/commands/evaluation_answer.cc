// SPDX-License-Identifier: Apache-2.0
#include "engine/commands/evaluation_answer.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/prefill/decode.h"
#include "engine/tokenizer/stop.h"
#include "engine/tokenizer/stream_decoder.h"

namespace droidspeak {

absl::StatusOr<std::unique_ptr<Answerer>> Answerer::Create(const Model& model, const Tokenizer& tokenizer,
                                                           const PromptTemplate& prompt) {
  ASSIGN_OR_RETURN(std::vector<int32_t> eos, ReadEosIds(model.path().dir));
  return std::unique_ptr<Answerer>(new Answerer(model, tokenizer, prompt, std::move(eos)));
}

absl::StatusOr<FirstToken> Answerer::Prefill(const AskRequest& request) const {
  Sampler sampler({.temperature = 0});
  const absl::Time start = absl::Now();
  const std::unique_ptr<ContextSource> source = request.plan->is_full() ? nullptr : request.source();
  ASSIGN_OR_RETURN(const PrefillResult prefill, PartialPrefill(model_, *request.sequence->slab,
                                                               {.tokens = request.tokens,
                                                                .run = request.sequence->run,
                                                                .reach = request.reach,
                                                                .plan = *request.plan,
                                                                .source = source.get()}));
  FirstToken first;
  first.token = sampler.Choose(LastRow(prefill.logits)).token;
  first.ttft_ms = absl::ToDoubleMilliseconds(absl::Now() - start);
  first.prefill_ms = absl::ToDoubleMilliseconds(request.plan->is_full() ? prefill.total_time : prefill.context_time);
  first.context_tokens = prefill.context_tokens;
  first.stats = prefill.stats;
  return first;
}

absl::StatusOr<std::string> Answerer::Decode(const AskRequest& request, int32_t first) const {
  StreamDecoder decoder(tokenizer_, /*skip_special_tokens=*/true);
  StopMatcher stop(prompt_.stop());
  std::string text;
  absl::Status status;
  Sampler sampler({.temperature = 0});
  const auto on_token = [&](int32_t token) {
    if (std::find(eos_.begin(), eos_.end(), token) != eos_.end()) return false;
    const absl::StatusOr<std::string> piece = decoder.Push(token);
    status = piece.status();
    if (!piece.ok()) return false;
    text += stop.Push(*piece);
    return !stop.stopped();
  };
  RETURN_IF_ERROR(droidspeak::Decode(model_, *request.sequence->slab, sampler,
                                     {.run = request.sequence->run,
                                      .reach = request.reach,
                                      .position = static_cast<int64_t>(request.tokens.size()),
                                      .first = first,
                                      .max_tokens = prompt_.max_new_tokens(),
                                      .on_token = on_token})
                      .status());
  RETURN_IF_ERROR(status);
  ASSIGN_OR_RETURN(const std::string rest, decoder.Finish());
  text += stop.Push(rest);
  text += stop.Finish();
  return text;
}

}  // namespace droidspeak

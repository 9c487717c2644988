// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_answer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "engine/tokenizer/stop.h"
#include "engine/tokenizer/stream_decoder.h"

namespace droidspeak {
namespace {

// Characters, not bytes.
int64_t Length(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

}  // namespace

// Text of one choice. Called on the scheduler's thread alone.
class ApiAnswer::Choice : public AnswerListener {
 public:
  Choice(std::shared_ptr<ApiAnswer> answer, int64_t index)
      : answer_(std::move(answer)),
        index_(index),
        decoder_(*answer_->text_.tokenizer, /*skip_special_tokens=*/true),
        stop_(answer_->stop_) {}

  bool wanted() const override { return answer_->wanted(); }
  void OnPrompt(const PromptReport& report) override { answer_->Report(index_, report); }
  bool OnToken(const droidspeak::Choice& choice) override;
  void OnEnd(EndReason reason, const absl::Status& status) override;

 private:
  [[nodiscard]] bool IsEos(int32_t token) const {
    const std::vector<int32_t>& eos = answer_->text_.eos;
    return !answer_->ignore_eos_ && std::find(eos.begin(), eos.end(), token) != eos.end();
  }
  [[nodiscard]] ApiToken Token(int32_t token, float logprob) const;
  [[nodiscard]] ApiLogprob Logprob(const droidspeak::Choice& choice) const;

  const std::shared_ptr<ApiAnswer> answer_;
  const int64_t index_;
  StreamDecoder decoder_;
  StopMatcher stop_;
  int64_t length_ = 0;  // of the text so far, in characters
};

ApiToken ApiAnswer::Choice::Token(int32_t token, float logprob) const {
  absl::StatusOr<std::string> text = answer_->text_.tokenizer->Decode(absl::MakeConstSpan(&token, 1), false);
  return {.text = text.ok() ? *std::move(text) : "", .logprob = logprob};
}

ApiLogprob ApiAnswer::Choice::Logprob(const droidspeak::Choice& choice) const {
  ApiLogprob logprob{.token = Token(choice.token, choice.logprob), .top = {}, .text_offset = length_};
  for (const TokenLogprob& top : choice.top_logprobs) logprob.top.push_back(Token(top.token, top.logprob));
  return logprob;
}

bool ApiAnswer::Choice::OnToken(const droidspeak::Choice& choice) {
  const bool eos = IsEos(choice.token);
  ApiDelta delta{.index = index_};
  if (answer_->with_logprobs_) {
    delta.logprobs.emplace();
    if (!eos) delta.logprobs->push_back(Logprob(choice));
  }
  if (!eos) {
    const absl::StatusOr<std::string> piece = decoder_.Push(choice.token);
    if (!piece.ok()) {
      answer_->Fail(piece.status());
      return false;
    }
    length_ += Length(*piece);
    delta.text = stop_.Push(*piece);
  }
  answer_->Add(std::move(delta), 1);
  return !eos && !stop_.stopped();
}

void ApiAnswer::Choice::OnEnd(EndReason reason, const absl::Status& status) {
  if (reason == EndReason::kFailed) return answer_->Fail(status);
  if (reason == EndReason::kCancelled) return answer_->Fail(absl::UnavailableError("the engine is shutting down"));
  ApiDelta last{.index = index_};
  if (!stop_.stopped()) {
    const absl::StatusOr<std::string> rest = decoder_.Finish();
    if (rest.ok()) last.text = stop_.Push(*rest);
    last.text += stop_.Finish();
  }
  last.finish_reason = reason == EndReason::kLength && !stop_.stopped() ? "length" : "stop";
  if (answer_->with_logprobs_) last.logprobs.emplace();
  answer_->Add(std::move(last), 0);
  answer_->Complete();
}

ApiAnswer::ApiAnswer(const ApiRequest& request, ApiResponse response, const ApiModelText& text, int64_t prompts,
                     int64_t prompt_tokens, std::shared_ptr<HttpReply> reply)
    : response_(std::move(response)),
      text_(text),
      stop_(request.stop),
      choices_each_(request.n),
      prompt_tokens_(prompt_tokens),
      ignore_eos_(request.ignore_eos),
      stream_(request.stream),
      include_usage_(request.include_usage),
      with_logprobs_(request.sampling.top_logprobs >= 0),
      reply_(std::move(reply)),
      choices_(prompts * request.n),
      begun_(prompts * request.n),
      reuse_(prompts) {
  for (size_t i = 0; i < choices_.size(); ++i) {
    choices_[i].index = static_cast<int64_t>(i);
    if (with_logprobs_) choices_[i].logprobs.emplace();
  }
}

std::shared_ptr<AnswerListener> ApiAnswer::Listener(int64_t index) {
  return std::make_shared<Choice>(shared_from_this(), index);
}

// Answers to one prompt are read alike, except for what one leaves to the next: the first is told.
void ApiAnswer::Report(int64_t index, const PromptReport& report) {
  if (index % choices_each_ != 0) return;
  absl::MutexLock lock(&mutex_);
  reuse_[index / choices_each_] = {.plan = report.plan,
                                   .sender = report.sender,
                                   .context_tokens = report.context_tokens,
                                   .own_tokens = report.own_tokens,
                                   .kv_bytes = report.stats.kv_bytes,
                                   .e_bytes = report.stats.e_bytes,
                                   .fallback = report.fallback};
  if (stream_ && !done_) BeginLocked();  // the first text may be some tokens away
}

void ApiAnswer::Add(ApiDelta delta, int64_t tokens) {
  absl::MutexLock lock(&mutex_);
  if (done_) return;
  completion_tokens_ += tokens;
  if (stream_) {
    std::string events;
    if (!begun_[delta.index]) {
      begun_[delta.index] = true;
      events = response_.FirstEvent(delta.index, include_usage_);
    }
    const bool has_logprobs = delta.logprobs.has_value() && !delta.logprobs->empty();
    if (!delta.text.empty() || !delta.finish_reason.empty() || has_logprobs) {
      absl::StrAppend(&events, response_.Event(delta, include_usage_));
    }
    if (!events.empty()) WriteLocked(std::move(events));
    return;
  }
  ApiDelta& whole = choices_[delta.index];
  whole.text += delta.text;
  if (!delta.finish_reason.empty()) whole.finish_reason = delta.finish_reason;
  if (!delta.logprobs.has_value()) return;
  for (ApiLogprob& logprob : *delta.logprobs) whole.logprobs->push_back(std::move(logprob));
}

ApiUsage ApiAnswer::Usage() const {
  ApiUsage usage{.prompt_tokens = prompt_tokens_, .completion_tokens = completion_tokens_};
  for (const ApiReuse& reuse : reuse_) usage.cached_tokens += reuse.context_tokens;
  return usage;
}

void ApiAnswer::Complete() {
  absl::MutexLock lock(&mutex_);
  if (++ended_ < static_cast<int64_t>(choices_.size()) || done_) return;
  done_ = true;
  if (!stream_) {
    reply_->Send({.content_type = "application/json", .body = response_.Whole(choices_, Usage(), reuse_)});
    return;
  }
  std::string events;
  if (include_usage_) events = response_.UsageEvent(Usage(), reuse_);
  WriteLocked(absl::StrCat(events, ApiResponse::DoneEvent()));
  reply_->Finish();
}

void ApiAnswer::BeginLocked() {
  if (!std::exchange(streaming_, true)) reply_->Begin(200, "text/event-stream; charset=utf-8");
}

void ApiAnswer::WriteLocked(std::string events) {
  BeginLocked();
  if (!reply_->Write(std::move(events))) HangUp();
}

void ApiAnswer::Fail(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  FailLocked(status);
}

void ApiAnswer::FailLocked(const absl::Status& status) {
  if (std::exchange(done_, true)) return;
  if (!wanted()) {  // an end like others
    if (streaming_) reply_->Finish();
    return;
  }
  HangUp();  // the choices that are left
  spdlog::log(absl::IsInternal(status) ? spdlog::level::err : spdlog::level::info, "a request failed: {}",
              ToStd(status.message()));
  if (streaming_) {
    reply_->Write(ApiResponse::ErrorEvent(status));
    reply_->Finish();
  } else {
    SendError(*reply_, status);
  }
}

void SendError(HttpReply& reply, const absl::Status& status, const std::string& code) {
  const int http_status = HttpStatusOf(status);
  reply.Send({.status = http_status,
              .content_type = "application/json",
              .body = ErrorBody(http_status, std::string(status.message()), ParamOf(status), code)});
}

}  // namespace droidspeak

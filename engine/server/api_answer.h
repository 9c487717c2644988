// SPDX-License-Identifier: Apache-2.0
// The answer to one API request: tokens of all its choices become text, and text becomes HTTP.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/base/http_server.h"
#include "engine/scheduler/generation.h"
#include "engine/server/api_request.h"
#include "engine/server/api_response.h"
#include "engine/tokenizer/tokenizer.h"

namespace droidspeak {

// What the answers of one model have in common.
struct ApiModelText {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<int32_t> eos;
};

// Owns the reply. Its listeners keep it alive until their answers have ended; then it completes the reply. Thread-safe.
class ApiAnswer : public std::enable_shared_from_this<ApiAnswer> {
 public:
  // `prompt_tokens`: of all prompts together.
  ApiAnswer(const ApiRequest& request, ApiResponse response, const ApiModelText& text, int64_t prompts,
            int64_t prompt_tokens, std::shared_ptr<HttpReply> reply);

  // Who hears of choice `index` of prompts x n; called once for each.
  [[nodiscard]] std::shared_ptr<AnswerListener> Listener(int64_t index);

  // Nobody waits for the answer any more.
  void HangUp() { wanted_.store(false, std::memory_order_relaxed); }
  [[nodiscard]] bool wanted() const { return wanted_.load(std::memory_order_relaxed); }

  // Ends it with an error, unless it has ended; choices under way are not wanted any more.
  void Fail(const absl::Status& status);

 private:
  class Choice;

  void Report(int64_t index, const PromptReport& report);
  void Add(ApiDelta delta, int64_t tokens);
  void Complete();
  void FailLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteLocked(std::string events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] ApiUsage Usage() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ApiResponse response_;
  const ApiModelText text_;
  const std::vector<std::string> stop_;
  const int64_t choices_each_, prompt_tokens_;
  const bool ignore_eos_, stream_, include_usage_, with_logprobs_;
  const std::shared_ptr<HttpReply> reply_;
  std::atomic<bool> wanted_{true};

  absl::Mutex mutex_;
  std::vector<ApiDelta> choices_ ABSL_GUARDED_BY(mutex_);  // whole ones; of a stream only which have begun
  std::vector<bool> begun_ ABSL_GUARDED_BY(mutex_);
  std::vector<ApiReuse> reuse_ ABSL_GUARDED_BY(mutex_);  // by prompt
  int64_t completion_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  bool streaming_ ABSL_GUARDED_BY(mutex_) = false;  // the reply's head is sent
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

// Answers with a status of the engine, as an error of the API.
void SendError(HttpReply& reply, const absl::Status& status, const std::string& code = "");

}  // namespace droidspeak

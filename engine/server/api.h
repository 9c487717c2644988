// SPDX-License-Identifier: Apache-2.0
// The OpenAI API of one engine: from HTTP requests to the scheduler.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/http_server.h"
#include "common/base/metrics.h"
#include "engine/scheduler/scheduler.h"
#include "engine/server/api_answer.h"
#include "engine/server/api_request.h"
#include "engine/tokenizer/chat_template.h"

namespace droidspeak {

struct ApiOptions {
  const std::vector<ServedModel>* models = nullptr;  // at least one, each name once; outlive it
  int64_t vocab_size = 0;
  ApiModelText text;
  std::shared_ptr<const ChatTemplate> chat_template;  // null: the model has none
  std::vector<std::string> api_keys;                  // empty: everybody is served
};

// One key a line; blank lines and those that begin with # are left out. The file must have at least one.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> ReadApiKeys(const std::string& path);

// Parses, renders and tokenizes on threads of its own. `scheduler` and `metrics` outlive it; the server whose routes
// are its own stops before it goes.
class Api {
 public:
  Api(ApiOptions options, Scheduler& scheduler, Metrics& metrics);
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  // /v1/models, /v1/models/NAME, /v1/completions, /v1/chat/completions; /health, /livez, /readyz, /metrics.
  [[nodiscard]] HttpServer::Routes Routes();
  // What HTTP itself refuses, in the API's words.
  [[nodiscard]] static HttpResponse HttpError(int status, const std::string& message);
  // Of a body: what the longest prompt may need.
  [[nodiscard]] size_t most_body_bytes() const;

  // /readyz says no from now on.
  void NotReady() { ready_.store(false, std::memory_order_relaxed); }

 private:
  class Workers;

  [[nodiscard]] bool IsAllowed(const HttpRequest& request) const;
  void Take(Endpoint endpoint, const HttpRequest& request, const std::shared_ptr<HttpReply>& reply);
  // Null: it is not served.
  [[nodiscard]] const ServedModel* Find(const std::string& name) const;
  [[nodiscard]] absl::Status UnknownModel(const std::string& name) const;
  [[nodiscard]] absl::Status Answer(const ServedModel& model, const ApiRequest& request,
                                    const std::shared_ptr<HttpReply>& reply);
  [[nodiscard]] absl::StatusOr<std::vector<std::vector<int32_t>>> Prompts(const ApiRequest& request) const;
  [[nodiscard]] absl::StatusOr<std::vector<int32_t>> Encode(const ApiPrompt& prompt) const;
  [[nodiscard]] absl::StatusOr<std::vector<GenerationRequest>> Answers(const ServedModel& model,
                                                                       const ApiRequest& request,
                                                                       const std::vector<int32_t>& prompt) const;

  const ApiOptions options_;
  Scheduler& scheduler_;
  Metrics& metrics_;
  const int64_t created_;
  std::atomic<bool> ready_{true};
  std::unique_ptr<Workers> workers_;
};

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

constexpr uint64_t kMaxKeyFileBytes = 1 << 20;
constexpr int kWorkers = 2;
constexpr int64_t kMostLogprobs = 1 << 22;        // of an answer in one piece: some 500 MiB
constexpr int64_t kDefaultCompletionTokens = 16;  // as OpenAI's API
constexpr int64_t kBytesPerToken = 32;            // of a body; text has about 4, ids in JSON up to 8

// Takes the same time wherever two keys of one length differ.
bool IsSame(absl::string_view a, absl::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char differs = 0;
  for (size_t i = 0; i < a.size(); ++i) differs |= static_cast<unsigned char>(a[i] ^ b[i]);
  return differs == 0;
}

uint64_t RandomBits() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

class Api::Workers {
 public:
  ~Workers() { pool_.join(); }
  void Post(std::function<void()> task) { boost::asio::post(pool_, std::move(task)); }

 private:
  boost::asio::thread_pool pool_{kWorkers};
};

absl::StatusOr<std::vector<std::string>> ReadApiKeys(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxKeyFileBytes);
  if (!text.ok()) return text.status();
  std::vector<std::string> keys;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (!line.empty() && line[0] != '#') keys.emplace_back(line);
  }
  if (keys.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " has no key; expected one a line"));
  return keys;
}

Api::Api(ApiOptions options, Scheduler& scheduler, Metrics& metrics)
    : options_(std::move(options)),
      scheduler_(scheduler),
      metrics_(metrics),
      created_(absl::ToUnixSeconds(absl::Now())),
      workers_(std::make_unique<Workers>()) {
  metrics_.BeforeScrape([this] { scheduler_.UpdateLoad(); });
}

Api::~Api() = default;

size_t Api::most_body_bytes() const {
  return (size_t{1} << 20) + static_cast<size_t>(scheduler_.max_tokens() * kBytesPerToken);
}

HttpResponse Api::HttpError(int status, const std::string& message) {
  return {.status = status, .content_type = "application/json", .body = ErrorBody(status, message)};
}

bool Api::IsAllowed(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return true;
  absl::string_view given = request.authorization;
  constexpr absl::string_view kScheme = "Bearer ";
  if (!absl::StartsWithIgnoreCase(given, kScheme)) return false;
  given.remove_prefix(kScheme.size());
  return std::any_of(options_.api_keys.begin(), options_.api_keys.end(),
                     [given](const std::string& key) { return IsSame(key, given); });
}

HttpServer::Routes Api::Routes() {
  HttpServer::Routes routes;
  routes["/livez"] = GetRoute([] { return HttpResponse{.body = "ok\n"}; });
  routes["/readyz"] = GetRoute([this] {
    if (!ready_.load(std::memory_order_relaxed)) return HttpResponse{.status = 503, .body = "not ready\n"};
    return HttpResponse{.body = "ok\n"};
  });
  routes["/health"] = routes["/readyz"];  // as vLLM names it
  routes["/metrics"] = GetRoute([this] {
    return HttpResponse{.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics_.Text()};
  });
  const auto guarded = [this](bool post, auto handler) {
    return HttpRoute{
        .post = post, .handler = [this, handler](const HttpRequest& request, std::shared_ptr<HttpReply> reply) {
          if (!IsAllowed(request)) {
            return SendError(*reply, absl::UnauthenticatedError("the API key is missing or wrong"), "invalid_api_key");
          }
          handler(request, std::move(reply));
        }};
  };
  const auto fixed = [&guarded](const std::string& body) {
    return guarded(false, [body](const HttpRequest&, const std::shared_ptr<HttpReply>& reply) {
      reply->Send({.content_type = "application/json", .body = body});
    });
  };
  std::vector<ApiModel> models;
  for (const ServedModel& model : *options_.models) {
    models.push_back({.name = model.name, .max_tokens = scheduler_.max_tokens(), .created = created_});
    routes[absl::StrCat("/v1/models/", model.name)] = fixed(ModelObject(models.back()));
  }
  routes["/v1/models"] = fixed(ModelList(models));
  routes["/v1/completions"] =
      guarded(true, [this](const HttpRequest& request, const std::shared_ptr<HttpReply>& reply) {
        Take(Endpoint::kCompletions, request, reply);
      });
  routes["/v1/chat/completions"] =
      guarded(true, [this](const HttpRequest& request, const std::shared_ptr<HttpReply>& reply) {
        Take(Endpoint::kChat, request, reply);
      });
  return routes;
}

void Api::Take(Endpoint endpoint, const HttpRequest& request, const std::shared_ptr<HttpReply>& reply) {
  workers_->Post([this, endpoint, body = request.body, reply] {
    const absl::StatusOr<ApiRequest> parsed = ParseApiRequest(endpoint, body);
    if (!parsed.ok()) return SendError(*reply, parsed.status());
    const ServedModel* const model = Find(parsed->model);
    if (model == nullptr) return SendError(*reply, UnknownModel(parsed->model), "model_not_found");
    const absl::Status status = Answer(*model, *parsed, reply);
    if (!status.ok()) SendError(*reply, status);
  });
}

const ServedModel* Api::Find(const std::string& name) const {
  for (const ServedModel& model : *options_.models) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

absl::Status Api::UnknownModel(const std::string& name) const {
  const auto append = [](std::string* text, const ServedModel& model) { absl::StrAppend(text, "'", model.name, "'"); };
  return absl::NotFoundError(
      absl::StrCat("model: '", name, "' is not served; expected ", absl::StrJoin(*options_.models, " or ", append)));
}

absl::StatusOr<std::vector<int32_t>> Api::Encode(const ApiPrompt& prompt) const {
  if (const auto* const text = std::get_if<std::string>(&prompt)) {
    return options_.text.tokenizer->Encode(*text, /*add_special_tokens=*/true);
  }
  const std::vector<int32_t>& ids = std::get<std::vector<int32_t>>(prompt);
  for (const int32_t id : ids) {
    if (id < options_.vocab_size) continue;
    return ParamError("prompt",
                      absl::StrCat("token ", id, " is not below the model's vocabulary of ", options_.vocab_size));
  }
  return ids;
}

absl::StatusOr<std::vector<std::vector<int32_t>>> Api::Prompts(const ApiRequest& request) const {
  std::vector<std::vector<int32_t>> prompts;
  if (request.endpoint == Endpoint::kCompletions) {
    for (const ApiPrompt& prompt : request.prompts) {
      absl::StatusOr<std::vector<int32_t>> ids = Encode(prompt);
      if (!ids.ok()) return ids.status();
      prompts.push_back(*std::move(ids));
    }
  } else {
    if (options_.chat_template == nullptr) {
      return ParamError("messages", "the model has no chat template; expected a request to /v1/completions");
    }
    const absl::StatusOr<std::string> text = options_.chat_template->Render(request.messages, true);
    if (!text.ok()) return ParamError("messages", std::string(text.status().message()));
    absl::StatusOr<std::vector<int32_t>> ids =
        options_.text.tokenizer->Encode(*text, /*add_special_tokens=*/false);  // the template has put them in
    if (!ids.ok()) return ids.status();
    prompts.push_back(*std::move(ids));
  }
  return prompts;
}

// `n` answers to one prompt. Each is drawn with a seed of its own.
absl::StatusOr<std::vector<GenerationRequest>> Api::Answers(const ServedModel& model, const ApiRequest& request,
                                                            const std::vector<int32_t>& prompt) const {
  const char* const param = request.endpoint == Endpoint::kChat ? "messages" : "prompt";
  const int64_t limit = scheduler_.max_tokens(), length = static_cast<int64_t>(prompt.size());
  if (length == 0) return ParamError(param, "has no tokens; expected at least one");
  if (length >= limit) {
    return ParamError(param, absl::StrCat(length, " tokens leave no room for an answer: the limit of both is ", limit));
  }
  int64_t max_tokens = limit - length;
  if (request.max_tokens.has_value()) {
    max_tokens = *request.max_tokens;
  } else if (request.endpoint == Endpoint::kCompletions) {
    max_tokens = std::min(max_tokens, kDefaultCompletionTokens);
  }
  if (max_tokens > limit - length) {
    return ParamError("max_tokens", absl::StrCat(max_tokens, " and a prompt of ", length,
                                                 " tokens are more than the limit of ", limit));
  }
  // They are kept until the answer is complete.
  const int64_t count = std::max<int64_t>(1, std::ssize(request.prompts)) * request.n;
  const int64_t logprobs = count * max_tokens * (request.sampling.top_logprobs + 1);
  if (!request.stream && logprobs > kMostLogprobs) {
    return ParamError("logprobs", absl::StrCat(logprobs, " of all answers' tokens in one piece; expected at most ",
                                               kMostLogprobs, ", or stream true"));
  }
  const uint64_t seed = request.seed.has_value() ? *request.seed : RandomBits();
  std::vector<GenerationRequest> answers(request.n);
  for (int64_t i = 0; i < request.n; ++i) {
    answers[i].model = &model;
    answers[i].prompt = prompt;
    answers[i].max_tokens = max_tokens;
    answers[i].sampling = request.sampling;
    answers[i].sampling.seed = seed + static_cast<uint64_t>(i);
  }
  return answers;
}

absl::Status Api::Answer(const ServedModel& model, const ApiRequest& request, const std::shared_ptr<HttpReply>& reply) {
  const absl::StatusOr<std::vector<std::vector<int32_t>>> prompts = Prompts(request);
  if (!prompts.ok()) return prompts.status();
  std::vector<std::vector<GenerationRequest>> all;
  int64_t prompt_tokens = 0;
  for (const std::vector<int32_t>& prompt : *prompts) {
    absl::StatusOr<std::vector<GenerationRequest>> answers = Answers(model, request, prompt);
    if (!answers.ok()) return answers.status();
    all.push_back(*std::move(answers));
    prompt_tokens += static_cast<int64_t>(prompt.size());
  }
  const ApiResponse response(request.endpoint, absl::StrFormat("%016x", RandomBits()), request.model,
                             absl::ToUnixSeconds(absl::Now()));
  const auto answer = std::make_shared<ApiAnswer>(request, response, options_.text,
                                                  static_cast<int64_t>(prompts->size()), prompt_tokens, reply);
  reply->OnHangUp([weak = std::weak_ptr<ApiAnswer>(answer), this] {
    const std::shared_ptr<ApiAnswer> gone = weak.lock();
    if (gone == nullptr) return;
    gone->HangUp();
    scheduler_.Wake();
  });
  int64_t index = 0;
  for (std::vector<GenerationRequest>& answers : all) {
    for (GenerationRequest& one : answers) one.listener = answer->Listener(index++);
    const absl::Status queued = scheduler_.Submit(std::move(answers));
    if (!queued.ok()) {
      answer->Fail(queued);  // of several prompts those that are queued are not wanted any more
      scheduler_.Wake();
      break;
    }
  }
  return absl::OkStatus();
}

}  // namespace droidspeak

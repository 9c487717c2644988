// SPDX-License-Identifier: Apache-2.0
#include "bench/serve/load.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/status.h"
#include "common/base/thread.h"
#include "nlohmann/json.hpp"
#include "tests/support/http_call.h"

namespace droidspeak::bench {
namespace {

using nlohmann::json;

constexpr int64_t kMostConcurrency = 4096;            // each has a thread
constexpr absl::Duration kPatience = absl::Hours(1);  // for an answer's next piece: prompts may wait for each other

struct Request {
  std::string body;
  absl::Duration after;  // the run's beginning
};

std::vector<Request> Draw(const std::string& model, const ServeLoad& load) {
  std::mt19937_64 random(load.seed);
  std::gamma_distribution<double> between(load.burstiness,
                                          load.request_rate > 0 ? 1 / (load.request_rate * load.burstiness) : 0);
  std::uniform_int_distribution<int64_t> id(0, load.vocabulary - 1);
  std::vector<Request> requests(load.prompts);
  double seconds = 0;
  for (Request& request : requests) {
    std::vector<int64_t> prompt(load.prompt_tokens);
    for (int64_t& token : prompt) token = id(random);
    request.body = json{{"model", model},
                        {"prompt", prompt},
                        {"max_tokens", load.answer_tokens},
                        {"temperature", 0},
                        {"ignore_eos", true},
                        {"logprobs", 0},  // so that each token is a piece, whatever it spells
                        {"stream", true},
                        {"stream_options", {{"include_usage", true}}}}
                       .dump();
    request.after = absl::Seconds(seconds);
    if (load.request_rate > 0) seconds += between(random);
  }
  return requests;
}

// Null: it is not there.
const json* Member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

int64_t Number(const json& object, const char* name) {
  const json* const value = Member(object, name);
  return value != nullptr && value->is_number_integer() ? value->get<int64_t>() : 0;
}

absl::StatusOr<RequestTimes> Ask(const std::string& address, const std::string& body, int64_t tokens) {
  RequestTimes times;
  const absl::Time sent = absl::Now();
  HttpCall call(address,
                {.path = "/v1/completions", .method = "POST", .body = body, .headers = {}, .patience = kPatience});
  if (call.status() == 0) {
    return absl::UnavailableError(absl::StrCat(address, ": no answer within ", absl::FormatDuration(kPatience)));
  }
  if (call.status() != 200) {
    return absl::UnavailableError(absl::StrCat(address, ": status ", call.status(), ": ", call.Whole().body));
  }
  absl::Time last = sent;
  bool done = false;
  while (const std::optional<std::string> event = call.NextEvent()) {
    done = *event == "[DONE]";
    const json piece = json::parse(*event, nullptr, /*allow_exceptions=*/false);
    if (piece.is_object() && piece.contains("error"))
      return absl::UnavailableError(absl::StrCat(address, ": ", *event));
    if (const json* const usage = Member(piece, "usage"); usage != nullptr && usage->is_object()) {
      times.tokens = Number(*usage, "completion_tokens");
      if (const json* const details = Member(*usage, "prompt_tokens_details"); details != nullptr) {
        times.cached_tokens = Number(*details, "cached_tokens");
      }
    }
    const json* const choices = Member(piece, "choices");
    if (choices == nullptr || !choices->is_array() || choices->empty()) continue;
    const json* const logprobs = Member(choices->front(), "logprobs");
    const json* const tokens_of = logprobs == nullptr ? nullptr : Member(*logprobs, "tokens");
    if (tokens_of == nullptr || tokens_of->empty()) continue;  // text that was held back
    const absl::Time now = absl::Now();
    if (last == sent) {
      times.ttft_ms = absl::ToDoubleMilliseconds(now - sent);
    } else {
      times.itl_ms.push_back(absl::ToDoubleMilliseconds(now - last));
    }
    last = now;
  }
  if (!done || times.tokens != tokens) {
    return absl::DataLossError(absl::StrCat(address, ": an answer of ", times.tokens, " tokens; expected ", tokens));
  }
  times.e2el_ms = absl::ToDoubleMilliseconds(last - sent);
  if (tokens > 1) times.tpot_ms = (times.e2el_ms - times.ttft_ms) / static_cast<double>(tokens - 1);
  return times;
}

// Requests in the order of their times, taken by as many threads as may be under way.
class Clients {
 public:
  Clients(const std::string& address, std::vector<Request> requests, int64_t answer_tokens)
      : address_(address), requests_(std::move(requests)), answer_tokens_(answer_tokens), times_(requests_.size()) {}

  absl::StatusOr<ServeTimes> Run(int64_t threads) {
    begun_ = absl::Now();
    std::vector<std::unique_ptr<Thread>> clients;
    for (int64_t i = 0; i < threads; ++i) {
      clients.push_back(std::make_unique<Thread>("client", [this](const std::stop_token&) { Client(); }));
    }
    clients.clear();  // waits for them
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begun_);
    absl::MutexLock lock(&mutex_);
    if (!status_.ok()) return status_;
    return ServeTimes{.requests = std::move(times_), .seconds = seconds};
  }

 private:
  void Client() {
    for (size_t i = next_++; i < requests_.size(); i = next_++) {
      absl::SleepFor(begun_ + requests_[i].after - absl::Now());
      absl::StatusOr<RequestTimes> times = Ask(address_, requests_[i].body, answer_tokens_);
      absl::MutexLock lock(&mutex_);
      if (times.ok()) {
        times_[i] = *std::move(times);
      } else {
        status_.Update(times.status());
      }
    }
  }

  const std::string address_;
  const std::vector<Request> requests_;
  const int64_t answer_tokens_;
  absl::Time begun_;
  std::atomic<size_t> next_{0};
  absl::Mutex mutex_;
  std::vector<RequestTimes> times_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<ServeTimes> RunServeLoad(const std::string& address, const std::string& model, const ServeLoad& load) {
  const int64_t most = load.max_concurrency > 0 ? load.max_concurrency : kMostConcurrency;
  return Clients(address, Draw(model, load), load.answer_tokens).Run(std::min(most, load.prompts));
}

absl::StatusOr<std::string> ServedName(const std::string& address) {
  const HttpAnswer answer = HttpCall(address, {.path = "/v1/models"}).Whole();
  const json models = json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  if (answer.status != 200 || !models.is_object() || models.value("data", json::array()).empty()) {
    return absl::UnavailableError(absl::StrCat(address, ": no models; it said '", answer.body, "'"));
  }
  return models["data"][0].value("id", "");
}

}  // namespace droidspeak::bench

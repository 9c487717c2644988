// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler/context_opener.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "common/base/log.h"
#include "common/base/steady_now.h"
#include "common/base/text.h"
#include "engine/model/torch_types.h"
#include "engine/tokenizer/compare.h"

namespace droidspeak {
namespace {

// Between prompts that are computed although their rows are there: servers that can't keep them must not cost more.
constexpr absl::Duration kBetweenRepairs = absl::Seconds(30);
// What is missing for less is perhaps still being stored.
constexpr absl::Duration kMissingFor = absl::Seconds(5);
constexpr size_t kMostMissing = 4096;

}  // namespace

ContextOpener::ContextOpener(RemoteCache& cache, int64_t layers, std::vector<int64_t> own_e_layers,
                             std::vector<ContextSender> senders)
    : cache_(cache),
      full_(Plan::Full(layers)),
      own_e_layers_(std::move(own_e_layers)),
      senders_(std::move(senders)),
      thread_("context", [this](const std::stop_token& stop) { Run(stop); }) {}

ContextOpener::~ContextOpener() {
  thread_.Stop();
}

void ContextOpener::Open(Request request) {
  absl::MutexLock lock(&mutex_);
  requests_.push_back(std::move(request));
}

void ContextOpener::Close(std::unique_ptr<ContextSource> source) {
  if (source == nullptr) return;
  absl::MutexLock lock(&mutex_);
  closing_.push_back(std::move(source));
}

void ContextOpener::Run(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this] {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  });
  for (;;) {
    std::optional<Request> request;
    std::vector<std::unique_ptr<ContextSource>> closing;
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !requests_.empty() || !closing_.empty();
      };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      closing.swap(closing_);
      if (!requests_.empty()) {
        request = std::move(requests_.front());
        requests_.pop_front();
      }
    }
    if (request.has_value()) Answer(*request);
  }
}

void ContextOpener::Answer(Request& request) {
  OpenedContext opened;
  const absl::Status status = WithoutExceptions("looking up a context", [&] {
    opened = OpenNow(request);
    return absl::OkStatus();
  });
  if (!status.ok()) spdlog::warn("{}", ToStd(status.message()));
  if (!status.ok()) opened.resident_tokens = request.resident_tokens;
  request.done(std::move(opened));
}

std::unique_ptr<ServerSource> ContextOpener::LookUp(const Request& request, const ContextSender* sender) {
  const NamespaceHandle* const own = request.own->For(request.reach);
  const NamespaceHandle* const of_sender = sender == nullptr ? nullptr : sender->namespaces.For(request.reach);
  if (own == nullptr && of_sender == nullptr) return nullptr;
  ServerSourceOptions options;
  options.tokens = request.tokens;
  if (own != nullptr) options.own = *own;
  options.own_e_layers = own_e_layers_;
  if (of_sender != nullptr) {
    options.sender = *of_sender;
    options.tokens =
        options.tokens.subspan(0, LeadingCommonTokens(request.tokens, static_cast<int32_t>(sender->common_vocabulary)));
  }
  options.resident_tokens = std::min(request.resident_tokens, static_cast<int64_t>(options.tokens.size()));
  auto source = std::make_unique<ServerSource>(cache_, std::move(options));
  source->LookUp(sender == nullptr ? full_ : sender->plan);
  return source;
}

// What is read often stays in the slab, so that it would never be computed again, and other models never find it again,
// when a server that has lost it comes back.
int64_t ContextOpener::ResidentTokens(const Request& request) {
  const NamespaceHandle* const own = request.own->For(request.reach);
  Client& client = cache_.client();
  if (own == nullptr || SteadyNow() < next_repair_ || client.live_servers() < client.servers()) {
    return request.resident_tokens;
  }
  const int64_t block_tokens = own->layout.block_tokens, blocks = request.resident_tokens / block_tokens;
  if (blocks == 0) return request.resident_tokens;
  const std::vector<Digest> chain =
      ChainOf(*own, absl::MakeConstSpan(request.tokens).subspan(0, blocks * block_tokens));
  const int64_t stored = EndOfCovered(client.Coverage(*own, chain), 0, AllLayers(full_.layers()), own_e_layers_);
  if (stored == blocks) return request.resident_tokens;
  const absl::Time now = SteadyNow();
  if (missing_since_.size() >= kMostMissing) missing_since_.clear();
  const auto [missing, is_new] = missing_since_.try_emplace(chain[stored], now);
  if (is_new || now - missing->second < kMissingFor) return request.resident_tokens;
  missing_since_.erase(missing);
  next_repair_ = now + kBetweenRepairs;
  return stored * block_tokens;
}

// Of the senders the one whose cache reaches furthest; the first of equals. None when the model's own reaches as far.
OpenedContext ContextOpener::OpenNow(Request& request) {
  const int64_t reliable = ResidentTokens(request);
  if (reliable < request.resident_tokens) request.use_senders = false;  // these rows are to be exact, as they are now
  request.resident_tokens = reliable;
  std::unique_ptr<ServerSource> best = LookUp(request, nullptr);
  OpenedContext opened{.resident_tokens = request.resident_tokens};
  int64_t tokens = best == nullptr ? 0 : best->tokens();
  for (const ContextSender& sender : senders_) {
    if (!request.use_senders || sender.plan.is_full()) continue;
    std::unique_ptr<ServerSource> candidate = LookUp(request, &sender);
    if (candidate == nullptr || candidate->tokens() <= tokens) continue;
    tokens = candidate->tokens();
    best = std::move(candidate);
    opened.sender = &sender;
  }
  if (best == nullptr || tokens == 0) return opened;
  const absl::Status begun = best->Begin(opened.sender == nullptr ? full_ : opened.sender->plan, request.target);
  if (!begun.ok()) {
    spdlog::warn("a context can't be fetched: {}", ToStd(begun.message()));
    return {.resident_tokens = request.resident_tokens};
  }
  if (best->tokens() == best->own_tokens()) opened.sender = nullptr;  // no memory to fetch into
  opened.source = std::move(best);
  return opened;
}

}  // namespace droidspeak

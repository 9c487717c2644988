// SPDX-License-Identifier: Apache-2.0
#include "engine/commands/pair.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "engine/tokenizer/compare.h"

namespace droidspeak {
namespace {

std::vector<int64_t> AllLayers(const Model& model) {
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < model.config().layers; ++layer) layers.push_back(layer);
  return layers;
}

// What any of the plans needs.
std::vector<int64_t> Union(const std::vector<Plan>& plans, std::vector<int64_t> (Plan::*needed)() const) {
  std::set<int64_t> all;
  for (const Plan& plan : plans) {
    for (int64_t layer : (plan.*needed)()) all.insert(layer);
  }
  return {all.begin(), all.end()};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Pair>> Pair::Open(const PairOptions& options) {
  std::unique_ptr<Pair> pair(new Pair());
  ASSIGN_OR_RETURN(const Dtype dtype, options.engine.ParsedDtype());
  pair->block_tokens_ = options.engine.block_tokens;
  if (!options.engine.servers.empty()) {
    absl::StatusOr<std::vector<ServerAddress>> addresses = ParseServers(options.engine.servers);
    if (!addresses.ok()) return UsageStatus(absl::StrCat("--servers: ", addresses.status().message()));
    ASSIGN_OR_RETURN(pair->servers_, RemoteCache::Connect(options.engine.servers, options.engine.tls));
  }
  ASSIGN_OR_RETURN(pair->receiver_, Model::Load(options.receiver, dtype));
  if (!options.sender.empty()) RETURN_IF_ERROR(pair->OpenSender(options));
  if (pair->servers_ != nullptr && options.use_own_cache) {
    ASSIGN_OR_RETURN(
        pair->own_, pair->servers_->OpenModel(options.receiver, pair->receiver_->config(), dtype, pair->block_tokens_));
  }
  return pair;
}

absl::Status Pair::OpenSender(const PairOptions& options) {
  ASSIGN_OR_RETURN(const ModelPath path, ParseModelPath(options.sender));
  ASSIGN_OR_RETURN(sender_config_, LoadModelConfig(path.dir));
  RETURN_IF_ERROR(CheckSameShape(*sender_config_, receiver_->config()));
  ASSIGN_OR_RETURN(common_vocabulary_,
                   CommonVocabulary(path.dir, *sender_config_, receiver_->path().dir, receiver_->config()));
  if (options.run_sender) {
    ASSIGN_OR_RETURN(sender_, Model::Load(options.sender, receiver_->dtype()));
  }
  if (servers_ != nullptr) {
    ASSIGN_OR_RETURN(sender_namespaces_,
                     servers_->OpenModel(options.sender, *sender_config_, receiver_->dtype(), block_tokens_));
  }
  return absl::OkStatus();
}

int64_t Pair::UsableContext(absl::Span<const int32_t> tokens, int64_t wanted) const {
  const absl::Span<const int32_t> context = tokens.subspan(0, std::max<int64_t>(wanted, 0));
  int64_t usable = static_cast<int64_t>(context.size());
  if (has_sender()) usable = LeadingCommonTokens(context, static_cast<int32_t>(common_vocabulary_));
  return servers_ == nullptr ? usable : usable / block_tokens_ * block_tokens_;
}

absl::Status Pair::Prepare(absl::Span<const int32_t> context, int64_t reach, const std::vector<Plan>& plans) {
  context_.reset();
  if (context.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(context.size()) > sender_config_->max_positions) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a context of ", context.size(), " tokens is more than the sender's limit of ", sender_config_->max_positions));
  }
  if (servers_ != nullptr) {
    if (sender_namespaces_->For(reach) == nullptr) {
      spdlog::warn(
          "the sender's RoPE (dynamic) depends on the length of a sequence of {} tokens: nothing of it is cached",
          reach);
      return absl::OkStatus();
    }
    const FillRequest request{.tokens = context, .reach = reach, .e_layers = AllLayers(*sender_)};
    return FillContext(*servers_, *sender_, *sender_namespaces_, request).status();
  }
  ASSIGN_OR_RETURN(context_, CaptureContext(*sender_, context, reach, Union(plans, &Plan::kv_layers),
                                            Union(plans, &Plan::e_layers)));
  return absl::OkStatus();
}

const NamespaceHandle* Pair::own_namespace(int64_t reach) const {
  return own_ ? own_->For(reach) : nullptr;
}

std::unique_ptr<ContextSource> Pair::Source(absl::Span<const int32_t> context, int64_t reach) {
  if (servers_ == nullptr) return context_ == nullptr ? nullptr : std::make_unique<InProcessSource>(*context_);
  const NamespaceHandle* const own = own_namespace(reach);
  const NamespaceHandle* const sender = sender_namespaces_ ? sender_namespaces_->For(reach) : nullptr;
  if (own == nullptr && sender == nullptr) return nullptr;
  ServerSourceOptions options;
  options.tokens = context;
  if (own != nullptr) options.own = *own;
  if (sender != nullptr) options.sender = *sender;
  return std::make_unique<ServerSource>(*servers_, std::move(options));
}

}  // namespace droidspeak

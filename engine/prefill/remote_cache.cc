// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/remote_cache.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/base/status.h"
#include "engine/model/digest.h"

namespace droidspeak {
namespace {

// A region that is so many times as large as what is asked for is left to those who need it.
constexpr uint64_t kMostSurplus = 4;
// What is kept for the next requests. More is freed, the longest unused first.
constexpr uint64_t kMostFreeBytes = uint64_t{2} << 30;
constexpr size_t kMostFree = 64;
// Regions that a server may still write to. The first of more than these is freed: whoever still writes is cut off.
constexpr size_t kMostAbandoned = 16;

// Sizes come in four steps to the double: contexts that grow block by block use the same regions.
uint64_t RoundedUp(uint64_t bytes) {
  const uint64_t step = std::max<uint64_t>(1, std::bit_floor(bytes) / 4);
  return (bytes + step - 1) / step * step;
}

}  // namespace

Layout CacheLayout(const ModelConfig& config, Dtype dtype, int64_t block_tokens, Regime regime) {
  Layout layout;
  layout.layers = static_cast<uint32_t>(config.layers);
  layout.kv_heads = static_cast<uint32_t>(config.kv_heads);
  layout.head_dim = static_cast<uint32_t>(config.head_dim);
  layout.hidden = static_cast<uint32_t>(config.hidden_size);
  layout.block_tokens = static_cast<uint32_t>(block_tokens);
  layout.kv = dtype;
  layout.e = dtype;
  layout.regime = regime;
  return layout;
}

const NamespaceHandle* ModelNamespaces::For(int64_t reach) const {
  const auto& ns = by_regime_[static_cast<size_t>(RegimeOf(rope_, reach))];
  return IsSharable(rope_, reach) && ns.has_value() ? &*ns : nullptr;
}

Staging::~Staging() {
  if (region_ != nullptr) cache_->GiveBack(std::move(region_), abandoned_);
}

absl::StatusOr<std::unique_ptr<RemoteCache>> RemoteCache::Connect(const std::string& servers, const TlsFiles& tls) {
  ClientOptions options;
  ASSIGN_OR_RETURN(options.servers, ParseServers(servers));
  options.tls = tls;
  ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(options));
  return std::make_unique<RemoteCache>(std::move(client));
}

absl::StatusOr<ModelNamespaces> RemoteCache::OpenModel(const std::string& spec, const ModelConfig& config, Dtype dtype,
                                                       int64_t block_tokens) {
  RETURN_IF_ERROR(CacheLayout(config, dtype, block_tokens, Regime::kNone).Validate());  // before the weights are read
  ASSIGN_OR_RETURN(const ModelDigests digests, ComputeModelDigests(spec, DigestCacheDir()));
  ModelNamespaces namespaces;
  namespaces.rope_ = config.rope;
  // Both regimes, whatever this model itself can read: a receiver asks by its own reach.
  for (const int64_t reach : {int64_t{1}, config.rope.original_max_positions + 1}) {
    const Regime regime = RegimeOf(config.rope, reach);
    auto& ns = namespaces.by_regime_[static_cast<size_t>(regime)];
    if (ns.has_value() || !IsSharable(config.rope, reach)) continue;
    const Layout layout = CacheLayout(config, dtype, block_tokens, regime);
    ASSIGN_OR_RETURN(ns,
                     client_->OpenNamespace(digests.weights, digests.adapter ? &*digests.adapter : nullptr, layout));
  }
  return namespaces;
}

absl::StatusOr<Staging> RemoteCache::AllocateStaging(uint64_t bytes) {
  {
    absl::MutexLock lock(&mutex_);
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if ((*it)->bytes() < bytes || (*it)->bytes() / kMostSurplus > bytes) continue;
      if (best == free_.end() || (*it)->bytes() < (*best)->bytes()) best = it;
    }
    if (best != free_.end()) {
      std::unique_ptr<Region> region = std::move(*best);
      free_.erase(best);
      return Staging(this, std::move(region));
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Region> region, client_->AllocateRegion(RoundedUp(bytes)));
  return Staging(this, std::move(region));
}

void RemoteCache::GiveBack(std::unique_ptr<Region> region, bool abandoned) {
  std::vector<std::unique_ptr<Region>> ended;  // freed without the lock: a server may have to be told
  absl::MutexLock lock(&mutex_);
  std::vector<std::unique_ptr<Region>>& kept = abandoned ? abandoned_ : free_;
  kept.push_back(std::move(region));
  const auto too_many = [&] {
    if (abandoned) return kept.size() > kMostAbandoned;
    uint64_t bytes = 0;
    for (const auto& one : kept) bytes += one->bytes();
    return kept.size() > 1 && (kept.size() > kMostFree || bytes > kMostFreeBytes);
  };
  while (too_many()) {
    ended.push_back(std::move(kept.front()));
    kept.erase(kept.begin());
  }
}

std::vector<Digest> ChainOf(const NamespaceHandle& ns, absl::Span<const int32_t> tokens) {
  // Token ids are checked to be below the vocabulary's size, so that both types hold the same values.
  return BlockHashes(ns.bytes, absl::MakeConstSpan(reinterpret_cast<const uint32_t*>(tokens.data()), tokens.size()),
                     ns.layout.block_tokens);
}

}  // namespace droidspeak

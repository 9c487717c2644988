// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cacheserver/store/offers.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

// Blocks in open offers, as a share of the index's limit: each takes memory in its offer as well.
constexpr size_t kOfferedShare = 16;
// Of all that may be open, what one tenant of several may have.
constexpr size_t kTenantShare = 4;

wire::LayerBits Minus(wire::LayerBits a, const wire::LayerBits& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] &= ~b[i];
  return a;
}
wire::LayerBits Both(wire::LayerBits a, const wire::LayerBits& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] &= b[i];
  return a;
}

uint32_t GroupsOf(const wire::LayerBits& bits) {
  uint32_t groups = 0;
  ForEachLayer(Kind::kKv, bits, [&](ExtentSelector extent) { groups |= 1u << (extent.layer / kGroupLayers); });
  return groups;
}

}  // namespace

absl::Status OfferTable::Admit(const NamespaceEntry* space, uint32_t tenant, size_t blocks,
                               const std::array<wire::LayerBits, 2>& layers) {
  if (space == nullptr || space->row.tenant != tenant) return absl::InvalidArgumentError("unknown namespace");
  for (Kind kind : kKinds) {
    bool beyond = false;
    ForEachLayer(kind, layers[static_cast<size_t>(kind)],
                 [&](ExtentSelector extent) { beyond |= extent.layer >= space->row.layout.layers; });
    if (beyond) {
      return absl::InvalidArgumentError(
          absl::StrCat("an offered layer is beyond the layout's ", space->row.layout.layers));
    }
  }
  const StoreOptions& options = core_->options();
  if (core_->index().blocks() + blocks > options.max_blocks) {
    return absl::ResourceExhaustedError(absl::StrCat("the index has its limit of ", options.max_blocks, " blocks"));
  }
  absl::MutexLock lock(&mutex_);
  if (open_.size() >= options.max_offers) {
    return absl::ResourceExhaustedError(absl::StrCat("there are ", open_.size(), " open offers"));
  }
  if (offered_blocks_ > 0 && offered_blocks_ + blocks > options.max_blocks / kOfferedShare) {
    return absl::ResourceExhaustedError(absl::StrCat("open offers have ", offered_blocks_, " blocks"));
  }
  const auto own = by_tenant_.find(tenant);
  if (core_->tenants().size() <= 1 || own == by_tenant_.end()) return absl::OkStatus();
  if (own->second.offers >= options.max_offers / kTenantShare ||
      own->second.blocks + blocks > options.max_blocks / kOfferedShare / kTenantShare) {
    return absl::ResourceExhaustedError(absl::StrCat("the tenant has ", own->second.offers, " open offers of ",
                                                     own->second.blocks, " blocks, the most of one of several"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ExtentStore::OfferResult> OfferTable::Make(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                                          absl::Span<const wire::OfferBlock> blocks,
                                                          const std::array<wire::LayerBits, 2>& layers,
                                                          absl::Duration lease) {
  ExpireDue();
  const NamespaceEntry* space = core_->namespaces().Find(namespace_id);
  RETURN_IF_ERROR(Admit(space, tenant, blocks.size(), layers));
  const auto offer = std::make_shared<Offer>(owner, space, lease);
  ExtentStore::OfferResult result{offer, {}};
  result.blocks.reserve(blocks.size());
  const uint32_t tick = core_->NextTick();
  const std::array<uint32_t, 2> groups = {GroupsOf(layers[0]), GroupsOf(layers[1])};
  const Digest* before = nullptr;
  for (const wire::OfferBlock& block : blocks) {
    const bool follows = before != nullptr && *before == block.parent;
    if (!follows && block.position > 0) core_->index().TouchAncestors(tenant, block.parent, groups, tick);
    before = &block.hash;
    const std::optional<wire::BlockOffer> answer = OfferBlock(*offer, block, layers, tick);
    if (!answer) {
      EndAndRelease({offer});
      return absl::InvalidArgumentError(absl::StrCat("block ", block.hash.Hex(), " belongs to another namespace"));
    }
    result.blocks.push_back(*answer);
  }
  const absl::Duration deadline = core_->Now() + lease;
  absl::MutexLock lock(&mutex_);
  open_.emplace(offer.get(), State{deadline, offer, blocks.size()});
  deadlines_.emplace(deadline, offer.get());
  by_owner_[owner].insert(offer.get());
  offered_blocks_ += blocks.size();
  Open& own = by_tenant_[tenant];
  ++own.offers;
  own.blocks += blocks.size();
  return result;
}

std::optional<wire::BlockOffer> OfferTable::OfferBlock(Offer& offer, const wire::OfferBlock& offered,
                                                       const std::array<wire::LayerBits, 2>& layers, uint32_t tick) {
  const NamespaceRow& space = offer.space().row;
  const BlockKey key{space.tenant, offered.hash};
  std::array<wire::LayerBits, 2> want;
  std::array<wire::LayerBits, 2> others;
  std::array<wire::LayerBits, 2> busy;
  Block* block = nullptr;
  {
    Index::Locked shard = core_->index().Lock(key);
    block = shard.Find(key);
    if (block != nullptr && block->namespace_id != space.id) return std::nullopt;
    if (block != nullptr && core_->Expired(*block)) {
      core_->Remove(shard, block);
      block = nullptr;
    }
    if (block == nullptr) {
      block = shard.Insert(key, space.id, offered.parent, offered.position, space.layout.layers);
      block->expiry = core_->NewExpiry();
    }
    ++block->offers;
    for (Kind kind : kKinds) {
      const auto k = static_cast<size_t>(kind);
      const wire::LayerBits ready = block->ReadyBits(kind);
      busy[k] = Minus(Both(layers[k], block->Bits(ExtentState::kFilling, kind)), ready);
      want[k] = Minus(Minus(layers[k], ready), busy[k]);
      others[k] = Minus(layers[k], want[k]);
      block->Set(ExtentState::kFilling, kind, want[k]);
      ForEachLayer(kind, layers[k],
                   [&](ExtentSelector extent) { block->last_use(kind, extent.layer / kGroupLayers) = tick; });
    }
  }
  offer.Add(block, want, others);
  return wire::BlockOffer{want[0], busy[0], want[1], busy[1]};
}

OfferPtr OfferTable::Forget(const Offer* offer) {
  const auto found = open_.find(offer);
  if (found == open_.end()) return nullptr;
  OfferPtr forgotten = std::move(found->second.offer);
  deadlines_.erase({found->second.deadline, offer});
  offered_blocks_ -= found->second.blocks;
  const auto own = by_tenant_.find(forgotten->space().row.tenant);
  own->second.blocks -= found->second.blocks;
  if (--own->second.offers == 0) by_tenant_.erase(own);
  const auto owner = by_owner_.find(forgotten->owner());
  owner->second.erase(offer);
  if (owner->second.empty()) by_owner_.erase(owner);
  open_.erase(found);
  return forgotten;
}

bool OfferTable::Close(const OfferPtr& offer) {
  {
    absl::MutexLock lock(&mutex_);
    if (Forget(offer.get()) == nullptr) return false;
  }
  return offer->End(*core_);
}

void OfferTable::Renew(const OfferPtr& offer) {
  const absl::Duration deadline = core_->Now() + offer->lease();
  absl::MutexLock lock(&mutex_);
  const auto found = open_.find(offer.get());
  // Not for every extent: moving it by an eighth of the lease is often enough.
  if (found == open_.end() || deadline - found->second.deadline < offer->lease() / 8) return;
  deadlines_.erase({found->second.deadline, offer.get()});
  found->second.deadline = deadline;
  deadlines_.emplace(deadline, offer.get());
}

void OfferTable::EndAndRelease(const std::vector<OfferPtr>& offers) {
  for (const OfferPtr& offer : offers) {
    if (offer->End(*core_)) offer->Release(*core_);
  }
}

void OfferTable::DropOwner(OwnerId owner) {
  std::vector<OfferPtr> dropped;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = by_owner_.find(owner);
    if (found == by_owner_.end()) return;
    const std::vector<const Offer*> offers(found->second.begin(), found->second.end());
    for (const Offer* offer : offers) dropped.push_back(Forget(offer));
  }
  EndAndRelease(dropped);
}

void OfferTable::ExpireDue() {
  const absl::Duration now = core_->Now();
  std::vector<OfferPtr> expired;
  {
    absl::MutexLock lock(&mutex_);
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
      expired.push_back(Forget(deadlines_.begin()->second));
    }
  }
  EndAndRelease(expired);
}

void OfferTable::EndAll() {
  std::vector<OfferPtr> all;
  {
    absl::MutexLock lock(&mutex_);
    while (!open_.empty()) all.push_back(Forget(open_.begin()->first));
  }
  EndAndRelease(all);
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "cacheserver/store.h"
#include "cacheserver/store/core.h"
#include "cacheserver/store/loader.h"
#include "cacheserver/store/maintenance.h"
#include "cacheserver/store/offers.h"
#include "cacheserver/store/pins.h"
#include "cacheserver/store/recovery.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/status.h"

namespace droidspeak {

class ExtentStore::Impl {
 public:
  Impl(StoreOptions options, std::unique_ptr<HostPool> pool)
      : core(std::move(options), std::move(pool)), offers(&core), pins(&core) {}

  // After recovery: the threads.
  void Start() {
    maintenance = std::make_unique<Maintenance>(&core, &offers);
    core.wake_maintenance = [this] { maintenance->Wake(); };
    loader = std::make_unique<Loader>(
        &core, [this](TenantEntry& tenant, uint64_t bytes) { maintenance->WantRoom(tenant, bytes); });
  }

  absl::Status Close() {
    if (core.closing.exchange(true)) return absl::OkStatus();
    loader->Stop();
    offers.EndAll();
    return maintenance->Stop();
  }

  StoreCore core;
  OfferTable offers;
  PinTable pins;
  std::unique_ptr<Maintenance> maintenance;
  std::unique_ptr<Loader> loader;
};

absl::StatusOr<std::unique_ptr<ExtentStore>> ExtentStore::Open(StoreOptions options) {
  ASSIGN_OR_RETURN(std::unique_ptr<HostPool> pool, HostPool::Create(options.host_pool_bytes));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(pool));
  if (!impl->core.options().spill_dir.empty()) RETURN_IF_ERROR(OpenDisk(impl->core, impl->pins));
  impl->Start();
  return std::unique_ptr<ExtentStore>(new ExtentStore(std::move(impl)));
}

ExtentStore::ExtentStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ExtentStore::~ExtentStore() {
  (void)Close();
}

const HostArena& ExtentStore::arena() const {
  return impl_->core.pool().arena();
}

absl::StatusOr<uint32_t> ExtentStore::OpenTenant(const std::string& name) {
  return impl_->core.tenants().Open(name);
}

absl::StatusOr<uint32_t> ExtentStore::OpenNamespace(uint32_t tenant, const Digest& name, const Layout& layout,
                                                    const std::optional<Digest>& model) {
  return impl_->core.namespaces().Open(tenant, name, layout, model);
}

void ExtentStore::Coverage(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks,
                           absl::Span<wire::BlockCoverage> out) const {
  DROIDSPEAK_CHECK(out.size() == blocks.size());
  StoreCore& core = impl_->core;
  core.index().FindEach(tenant, blocks, [&](size_t i, const Block* block) {
    out[i] = core.IsLive(block, namespace_id)
                 ? wire::BlockCoverage{block->ReadyBits(Kind::kKv), block->ReadyBits(Kind::kE)}
                 : wire::BlockCoverage{};
  });
}

Acquired ExtentStore::Acquire(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks,
                              absl::Span<const ExtentSelector> wanted) {
  StoreCore& core = impl_->core;
  Acquired acquired;
  if (core.closing || blocks.empty()) return acquired;
  std::array<uint32_t, 2> groups{};
  for (const ExtentSelector& extent : wanted) {
    if (extent.layer >= wire::kMaxLayers) return acquired;
    groups[static_cast<size_t>(extent.kind)] |= 1u << (extent.layer / kGroupLayers);
  }
  const uint32_t tick = core.NextTick();
  std::vector<Block*> referenced;
  referenced.reserve(blocks.size());
  for (const Digest& hash : blocks) {
    const BlockKey key{tenant, hash};
    Block* block = nullptr;
    {
      Index::Locked shard = core.index().Lock(key);
      block = core.FindLive(shard, key, namespace_id);
      if (block == nullptr || !core.HasAll(*block, wanted)) break;
      core.Reference(block, wanted, tick, acquired);
    }
    // What precedes a run must never be colder than it.
    const bool follows = !referenced.empty() && referenced.back()->key.hash == block->parent;
    if (!follows && block->position > 0) core.index().TouchAncestors(tenant, block->parent, groups, tick);
    referenced.push_back(block);
  }
  acquired.references = References(&core, std::move(referenced));
  return acquired;
}

std::optional<HostExtent> ExtentStore::ReadHost(const References& references, size_t block,
                                                ExtentSelector extent) const {
  DROIDSPEAK_CHECK(block < references.size());
  StoreCore& core = impl_->core;
  const Block* entry = StoreCore::BlocksOf(references)[block];
  Index::Locked shard = core.index().Lock(entry->key);
  if (extent.layer >= entry->layers || !entry->Has(ExtentState::kHost, extent.kind, extent.layer)) return std::nullopt;
  const Extent* found = entry->Find(extent.kind, extent.layer);
  return HostExtent(found->host, core.ExtentBytes(*entry, extent.kind), found->checksum, Tier::kHost);
}

void ExtentStore::Load(const References& references, size_t block, ExtentSelector extent, LoadCallback done) {
  DROIDSPEAK_CHECK(block < references.size());
  impl_->loader->Load(StoreCore::BlocksOf(references)[block], extent, std::move(done));
}

absl::StatusOr<ExtentStore::OfferResult> ExtentStore::MakeOffer(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                                                absl::Span<const wire::OfferBlock> blocks,
                                                                const wire::LayerBits& kv, const wire::LayerBits& e,
                                                                absl::Duration lease) {
  if (impl_->core.closing) return absl::UnavailableError("the store is closing");
  return impl_->offers.Make(owner, tenant, namespace_id, blocks, {kv, e}, lease);
}

void ExtentStore::AllocateFill(const OfferPtr& offer, size_t block, ExtentSelector extent, FillCallback done) {
  StoreCore& core = impl_->core;
  impl_->offers.ExpireDue();
  if (absl::Status taken = offer->TakeSlot(block, extent); !taken.ok()) return done(std::move(taken));
  impl_->offers.Renew(offer);
  const uint64_t bytes = offer->space().extent_bytes(extent.kind);
  TenantEntry& tenant = *offer->space().tenant;
  const uint64_t taken = SlabPool::SlotBytes(bytes);
  auto finish = [&core, &tenant, offer, block, extent, bytes, taken, done = std::move(done)](std::byte* slot) {
    if (slot != nullptr) return done(FillSlot(&core, offer, block, extent, slot, bytes));
    offer->ReturnSlot(block, extent);
    if (core.closing) return done(absl::ResourceExhaustedError("the store is closing"));
    done(absl::ResourceExhaustedError(
        tenant.HostHasRoom(taken) ? "the host pool is full of extents in use"
                                  : absl::StrCat("tenant ", tenant.name, " has its quota of ",
                                                 FormatBytes(tenant.quota.host_bytes), " of host memory in use")));
  };
  tenant.filling_bytes += taken;  // at once, so that no two fills take the same room
  if (tenant.HostHasRoom(0)) {
    if (std::byte* slot = core.pool().slots().Allocate(bytes); slot != nullptr) return finish(slot);
  }
  tenant.filling_bytes -= taken;  // until room has been made for it
  impl_->maintenance->Allocate(tenant, bytes, std::move(finish));
}

void ExtentStore::Seal(const OfferPtr& offer, bool durable, SealCallback done) {
  StoreCore& core = impl_->core;
  if (!impl_->offers.Close(offer)) return done(absl::DeadlineExceededError("the offer has ended"));
  absl::Status refused;
  if (durable && core.disk() == nullptr) {
    refused = absl::FailedPreconditionError("durable storage was asked for, and the server has no spill folder");
  }
  if (!durable || !refused.ok()) {
    offer->Release(core);
    return done(refused);
  }
  impl_->maintenance->SealDurably(offer, std::move(done));
}

absl::StatusOr<uint32_t> ExtentStore::Pin(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                          absl::Span<const Digest> blocks) {
  return impl_->pins.Pin(owner, tenant, namespace_id, blocks);
}

uint32_t ExtentStore::Unpin(OwnerId owner, uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks) {
  return impl_->pins.Unpin(owner, tenant, namespace_id, blocks);
}

uint32_t ExtentStore::Remove(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks) {
  return impl_->pins.Remove(tenant, namespace_id, blocks);
}

void ExtentStore::DropOwner(OwnerId owner) {
  impl_->offers.DropOwner(owner);
  impl_->pins.DropOwner(owner);
}

std::vector<TenantInfo> ExtentStore::Tenants() const {
  std::vector<TenantInfo> tenants;
  for (const TenantEntry* entry : impl_->core.tenants().All()) {
    TenantInfo& tenant = tenants.emplace_back(TenantInfo{entry->name, entry->quota, {}});
    for (size_t tier = 0; tier < kTiers; ++tier) tenant.bytes[tier] = entry->bytes_in(static_cast<Tier>(tier));
  }
  return tenants;
}

std::vector<NamespaceInfo> ExtentStore::Namespaces() const {
  std::vector<NamespaceInfo> spaces;
  for (const NamespaceEntry* entry : impl_->core.namespaces().All()) {
    const NamespaceRow& row = entry->row;
    spaces.push_back({row.id, row.tenant, row.tenant_name, row.name, row.layout, row.model});
  }
  return spaces;
}

absl::flat_hash_map<uint32_t, NamespaceUse> ExtentStore::CountNamespaces() const {
  return droidspeak::CountNamespaces(impl_->core);
}

std::vector<BlockInfo> ExtentStore::ListBlocks(const NamespaceInfo& space, const std::optional<Digest>& after,
                                               size_t limit) const {
  std::vector<BlockInfo> blocks = droidspeak::ListBlocks(impl_->core, space.id, after, limit);
  for (BlockInfo& block : blocks) block.operator_pin = impl_->pins.Has(kOperator, {space.tenant, block.hash});
  return blocks;
}

std::optional<BlockInfo> ExtentStore::FindBlock(const NamespaceInfo& space, const Digest& hash) const {
  std::optional<BlockInfo> block = droidspeak::FindBlock(impl_->core, space.tenant, space.id, hash);
  if (block) block->operator_pin = impl_->pins.Has(kOperator, {space.tenant, hash});
  return block;
}

absl::StatusOr<uint32_t> ExtentStore::PinAll(OwnerId owner, const NamespaceInfo& space) {
  return impl_->pins.PinAll(owner, space.tenant, space.id);
}

uint32_t ExtentStore::UnpinAll(OwnerId owner, const NamespaceInfo& space) {
  return impl_->pins.UnpinAll(owner, space.id);
}

uint32_t ExtentStore::RemoveAll(const NamespaceInfo& space) {
  constexpr size_t kAtOnce = 256;        // sessions that pin wait for no more than these
  constexpr uint32_t kQueued = 1 << 16;  // what waits to be removed on disk takes memory
  uint32_t removed = 0;
  uint32_t queued = 0;
  for (size_t shard = 0; shard < Index::kShards; ++shard) {
    const std::vector<Digest> hashes = BlocksInShard(impl_->core, space.id, shard);
    for (size_t first = 0; first < hashes.size(); first += kAtOnce) {
      const absl::Span<const Digest> some = absl::MakeSpan(hashes).subspan(first, kAtOnce);
      const uint32_t gone = impl_->pins.Remove(space.tenant, space.id, some);
      removed += gone;
      queued += gone;
      if (queued < kQueued) continue;
      absl::Notification written;
      Sync([&](const absl::Status&) { written.Notify(); });
      written.WaitForNotification();
      queued = 0;
    }
  }
  return removed;
}

void ExtentStore::Sync(SealCallback done) {
  if (impl_->core.disk() == nullptr) return done(absl::OkStatus());
  impl_->maintenance->SyncQueued(std::move(done));
}

StoreStats ExtentStore::stats() const {
  return impl_->core.Stats();
}

std::optional<std::string> ExtentStore::degraded() const {
  RocksdbTier* disk = impl_->core.disk();
  return disk == nullptr ? std::nullopt : disk->degraded();
}

void ExtentStore::Drain() {
  impl_->maintenance->Drain();
}

absl::Status ExtentStore::Close() {
  return impl_->Close();
}

}  // namespace droidspeak

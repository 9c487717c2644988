// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/admin_service.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "cacheserver/service/caller.h"
#include "cacheserver/service/grpc_fields.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "droidspeak/v1/admin.grpc.pb.h"

namespace droidspeak {
namespace {

// Pages stay well below the largest message of the control plane, 64 KiB.
constexpr size_t kPageBytes = 48 * 1024;
constexpr int kMaxListed = 200;  // blocks a page
constexpr int kMaxNamed = 1000;  // hashes a request

template <typename Repeated>
absl::StatusOr<std::vector<Digest>> DigestsField(const Repeated& field, int most) {
  if (field.size() > most) {
    return absl::InvalidArgumentError(absl::StrCat(field.size(), " blocks are named; at most ", most));
  }
  std::vector<Digest> digests;
  for (const std::string& bytes : field) {
    ASSIGN_OR_RETURN(digests.emplace_back(), DigestField(bytes, "blocks"));
  }
  return digests;
}

std::string BitsField(const wire::LayerBits& bits) {
  std::string bytes;
  for (const uint64_t word : bits) {
    for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(word >> shift));
  }
  bytes.resize(bytes.find_last_not_of('\0') + 1);
  return bytes;
}

void Write(const BlockInfo& block, v1::BlockStatus& out) {
  out.set_hash(std::string(block.hash.view()));
  out.set_parent(std::string(block.parent.view()));
  out.set_position(block.position);
  out.set_kv_on_host(BitsField(block.on_host[static_cast<size_t>(Kind::kKv)]));
  out.set_kv_on_disk(BitsField(block.on_disk[static_cast<size_t>(Kind::kKv)]));
  out.set_e_on_host(BitsField(block.on_host[static_cast<size_t>(Kind::kE)]));
  out.set_e_on_disk(BitsField(block.on_disk[static_cast<size_t>(Kind::kE)]));
  if (block.idle_ms) out.set_idle_ms(*block.idle_ms);
  out.set_pins(block.pins);
  out.set_operator_pin(block.operator_pin);
  out.set_expiry(block.expiry);
}

class AdminService final : public v1::Admin::Service {
 public:
  explicit AdminService(AdminContext context) : context_(std::move(context)), started_(SteadyNow()) {}

  grpc::Status Status(grpc::ServerContext* call, const v1::StatusRequest*, v1::StatusResponse* out) override {
    return Answer(*call, [&] { return DoStatus(*out); });
  }
  grpc::Status ListTenants(grpc::ServerContext* call, const v1::ListTenantsRequest* in,
                           v1::ListTenantsResponse* out) override {
    return Answer(*call, [&] { return DoListTenants(*in, *out); });
  }
  grpc::Status ListNamespaces(grpc::ServerContext* call, const v1::ListNamespacesRequest* in,
                              v1::ListNamespacesResponse* out) override {
    return AnswerAlone(*call, [&] { return DoListNamespaces(*in, *out); });
  }
  grpc::Status ListBlocks(grpc::ServerContext* call, const v1::ListBlocksRequest* in,
                          v1::ListBlocksResponse* out) override {
    return AnswerAlone(*call, [&] { return DoListBlocks(*in, *out); });
  }
  grpc::Status FindBlocks(grpc::ServerContext* call, const v1::FindBlocksRequest* in,
                          v1::FindBlocksResponse* out) override {
    return Answer(*call, [&] { return DoFindBlocks(*in, *out); });
  }
  grpc::Status Pin(grpc::ServerContext* call, const v1::PinRequest* in, v1::PinResponse* out) override {
    const auto run = [&] { return DoPin(*in, *out); };
    return in->all() ? AnswerAlone(*call, run) : Answer(*call, run);
  }
  grpc::Status Unpin(grpc::ServerContext* call, const v1::PinRequest* in, v1::PinResponse* out) override {
    const auto run = [&] { return DoUnpin(*in, *out); };
    return in->all() ? AnswerAlone(*call, run) : Answer(*call, run);
  }
  grpc::Status Purge(grpc::ServerContext* call, const v1::PurgeRequest* in, v1::PurgeResponse* out) override {
    const auto run = [&] { return DoPurge(*in, *out); };
    return in->blocks().empty() ? AnswerAlone(*call, run) : Answer(*call, run);
  }
  grpc::Status Drain(grpc::ServerContext* call, const v1::DrainRequest* in, v1::DrainResponse* out) override {
    return Answer(*call, [&] {
      context_.drained = !in->undo();
      spdlog::info(in->undo() ? "draining is taken back" : "draining: no new sessions and offers");
      out->set_sessions(context_.sessions.size());
      return absl::OkStatus();
    });
  }

 private:
  template <typename Do>
  grpc::Status Answer(const grpc::ServerContext& call, Do&& run) {
    const absl::StatusOr<Identity> caller = IdentifyCaller(call, context_.identity.get());
    absl::Status status = caller.ok() ? caller->Require(Role::kAdmin) : caller.status();
    if (status.ok()) status = run();
    if (!status.ok()) context_.metrics.Rejected(status.code());
    return ToGrpc(status);
  }
  template <typename Do>
  grpc::Status AnswerAlone(const grpc::ServerContext& call, Do&& run) {
    return Answer(call, [&]() -> absl::Status {
      if (walking_.exchange(true)) {
        return absl::UnavailableError("another administrator's call is looking through the index: try again");
      }
      const absl::Cleanup end = [this] { walking_ = false; };
      return run();
    });
  }

  absl::Status DoStatus(v1::StatusResponse& out) const;
  absl::Status DoListTenants(const v1::ListTenantsRequest& in, v1::ListTenantsResponse& out) const;
  absl::Status DoListNamespaces(const v1::ListNamespacesRequest& in, v1::ListNamespacesResponse& out) const;
  absl::Status DoListBlocks(const v1::ListBlocksRequest& in, v1::ListBlocksResponse& out) const;
  absl::Status DoFindBlocks(const v1::FindBlocksRequest& in, v1::FindBlocksResponse& out) const;
  absl::Status DoPin(const v1::PinRequest& in, v1::PinResponse& out);
  absl::Status DoUnpin(const v1::PinRequest& in, v1::PinResponse& out);
  absl::Status DoPurge(const v1::PurgeRequest& in, v1::PurgeResponse& out);

  absl::StatusOr<NamespaceInfo> FindNamespace(const std::string& bytes) const;
  bool HasDisk() const { return context_.store.stats().tiers[static_cast<size_t>(Tier::kRocksdb)].capacity_bytes > 0; }
  // Waits until what was pinned and removed survives a crash.
  absl::Status Sync();

  const AdminContext context_;
  const absl::Time started_;
  std::atomic<bool> walking_{false};
};

absl::Status AdminService::DoStatus(v1::StatusResponse& out) const {
  const ServerState state = context_.state();
  const StoreStats stats = context_.store.stats();
  out.set_name(context_.server_name);
  out.set_version(DROIDSPEAK_VERSION);
  out.set_epoch(context_.epoch);
  out.set_uptime_ms(static_cast<uint64_t>(absl::ToInt64Milliseconds(SteadyNow() - started_)));
  out.set_draining(context_.drained);
  out.set_ready(state.ready);
  out.set_degraded(state.degraded);
  out.set_sessions(context_.sessions.size());
  out.set_blocks(stats.blocks);
  out.set_inflight_bytes(state.inflight_bytes);
  for (size_t i = 0; i < kTiers; ++i) {
    const StoreStats::TierStats& from = stats.tiers[i];
    v1::TierStatus& tier = *out.add_tiers();
    tier.set_name(kTierNames[i]);
    tier.set_bytes(from.bytes[0] + from.bytes[1]);
    tier.set_capacity_bytes(from.capacity_bytes);
    tier.set_kv_extents(from.extents[static_cast<size_t>(Kind::kKv)]);
    tier.set_e_extents(from.extents[static_cast<size_t>(Kind::kE)]);
  }
  return absl::OkStatus();
}

absl::Status AdminService::DoListTenants(const v1::ListTenantsRequest& in, v1::ListTenantsResponse& out) const {
  for (const TenantInfo& from : context_.store.Tenants()) {  // by name
    if (!in.cursor().empty() && from.name <= in.cursor()) continue;
    if (out.ByteSizeLong() > kPageBytes) {
      out.set_next_cursor(out.tenants().rbegin()->name());
      break;
    }
    v1::Tenant& tenant = *out.add_tenants();
    tenant.set_name(from.name);
    tenant.set_host_bytes(from.bytes[static_cast<size_t>(Tier::kHost)]);
    tenant.set_rocksdb_bytes(from.bytes[static_cast<size_t>(Tier::kRocksdb)]);
    tenant.set_host_quota_bytes(from.quota.host_bytes);
    tenant.set_rocksdb_quota_bytes(from.quota.spill_bytes);
  }
  return absl::OkStatus();
}

absl::Status AdminService::DoListNamespaces(const v1::ListNamespacesRequest& in,
                                            v1::ListNamespacesResponse& out) const {
  const auto uses = context_.store.CountNamespaces();
  for (const NamespaceInfo& from : context_.store.Namespaces()) {  // by id
    if (from.id < in.cursor()) continue;
    if (out.ByteSizeLong() > kPageBytes) {
      out.set_next_cursor(from.id);
      break;
    }
    const auto found = uses.find(from.id);
    const NamespaceUse use = found == uses.end() ? NamespaceUse{} : found->second;
    v1::NamespaceStatus& space = *out.add_namespaces();
    space.set_namespace_bytes(std::string(from.name.view()));
    space.set_tenant(from.tenant_name);
    space.set_layout(from.layout.ToString());
    if (from.model) space.set_model(std::string(from.model->view()));
    space.set_blocks(use.blocks);
    space.set_pinned_blocks(use.pinned_blocks);
    space.set_host_bytes(use.bytes[static_cast<size_t>(Tier::kHost)]);
    space.set_rocksdb_bytes(use.bytes[static_cast<size_t>(Tier::kRocksdb)]);
  }
  return absl::OkStatus();
}

absl::StatusOr<NamespaceInfo> AdminService::FindNamespace(const std::string& bytes) const {
  ASSIGN_OR_RETURN(const Digest name, DigestField(bytes, "namespace"));
  for (NamespaceInfo& space : context_.store.Namespaces()) {
    if (space.name == name) return std::move(space);
  }
  return absl::NotFoundError(absl::StrCat("there is no namespace ", name.Hex()));
}

absl::Status AdminService::DoListBlocks(const v1::ListBlocksRequest& in, v1::ListBlocksResponse& out) const {
  ASSIGN_OR_RETURN(const NamespaceInfo space, FindNamespace(in.namespace_bytes()));
  std::optional<Digest> after;
  if (!in.cursor().empty()) {
    ASSIGN_OR_RETURN(after, DigestField(in.cursor(), "cursor"));
  }
  const size_t limit = in.limit() == 0 ? kMaxListed : std::min<size_t>(in.limit(), kMaxListed);
  const std::vector<BlockInfo> blocks = context_.store.ListBlocks(space, after, limit);
  for (const BlockInfo& block : blocks) Write(block, *out.add_blocks());
  if (blocks.size() == limit) out.set_next_cursor(std::string(blocks.back().hash.view()));
  return absl::OkStatus();
}

absl::Status AdminService::DoFindBlocks(const v1::FindBlocksRequest& in, v1::FindBlocksResponse& out) const {
  ASSIGN_OR_RETURN(const NamespaceInfo space, FindNamespace(in.namespace_bytes()));
  ASSIGN_OR_RETURN(const std::vector<Digest> hashes, DigestsField(in.blocks(), kMaxListed));
  for (const Digest& hash : hashes) {
    const std::optional<BlockInfo> block = context_.store.FindBlock(space, hash);
    if (block) Write(*block, *out.add_blocks());
  }
  return absl::OkStatus();
}

absl::Status AdminService::DoPin(const v1::PinRequest& in, v1::PinResponse& out) {
  ASSIGN_OR_RETURN(const NamespaceInfo space, FindNamespace(in.namespace_bytes()));
  ASSIGN_OR_RETURN(const std::vector<Digest> hashes, DigestsField(in.blocks(), kMaxNamed));
  absl::StatusOr<uint32_t> changed = in.all() ? context_.store.PinAll(kOperator, space)
                                              : context_.store.Pin(kOperator, space.tenant, space.id, hashes);
  if (!changed.ok()) return changed.status();
  out.set_changed(*changed);
  out.set_persistent(HasDisk());
  return Annotate(Sync(), "the blocks are pinned, but a restart may forget it");
}

absl::Status AdminService::DoUnpin(const v1::PinRequest& in, v1::PinResponse& out) {
  ASSIGN_OR_RETURN(const NamespaceInfo space, FindNamespace(in.namespace_bytes()));
  ASSIGN_OR_RETURN(const std::vector<Digest> hashes, DigestsField(in.blocks(), kMaxNamed));
  out.set_changed(in.all() ? context_.store.UnpinAll(kOperator, space)
                           : context_.store.Unpin(kOperator, space.tenant, space.id, hashes));
  out.set_persistent(HasDisk());
  return Annotate(Sync(), "the blocks are unpinned, but a restart may pin them again");
}

absl::Status AdminService::DoPurge(const v1::PurgeRequest& in, v1::PurgeResponse& out) {
  ASSIGN_OR_RETURN(const std::vector<Digest> hashes, DigestsField(in.blocks(), kMaxNamed));
  if (!hashes.empty()) {
    ASSIGN_OR_RETURN(const NamespaceInfo space, FindNamespace(in.namespace_bytes()));
    out.set_namespaces(1);
    out.set_blocks(context_.store.Remove(space.tenant, space.id, hashes));
    spdlog::info("purged {} named blocks", out.blocks());
    return Annotate(Sync(), "the blocks are removed, but a restart may bring some back");
  }
  std::vector<NamespaceInfo> spaces;
  if (in.what_case() == v1::PurgeRequest::kModel) {
    ASSIGN_OR_RETURN(const Digest model, DigestField(in.model(), "model"));
    spaces = context_.store.Namespaces();
    std::erase_if(spaces, [&](const NamespaceInfo& space) { return space.model != model; });
    if (spaces.empty()) return absl::NotFoundError(absl::StrCat("there is no namespace of model ", model.Hex()));
  } else if (in.what_case() == v1::PurgeRequest::kTenant) {
    spaces = context_.store.Namespaces();
    std::erase_if(spaces, [&](const NamespaceInfo& space) { return space.tenant_name != in.tenant(); });
    if (spaces.empty()) return absl::NotFoundError(absl::StrCat("there is no namespace of tenant ", in.tenant()));
  } else {
    ASSIGN_OR_RETURN(spaces.emplace_back(), FindNamespace(in.namespace_bytes()));
  }
  uint64_t removed = 0;
  for (const NamespaceInfo& space : spaces) removed += context_.store.RemoveAll(space);
  spdlog::info("purged {} blocks of {} namespaces", removed, spaces.size());
  out.set_namespaces(spaces.size());
  out.set_blocks(removed);
  return Annotate(Sync(), absl::StrCat(removed, " blocks are removed, but a restart may bring some back"));
}

absl::Status AdminService::Sync() {
  absl::Notification done;
  absl::Status status;
  context_.store.Sync([&](absl::Status synced) {
    status = std::move(synced);
    done.Notify();
  });
  done.WaitForNotification();
  return status;
}

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(AdminContext context) {
  return std::make_unique<AdminService>(std::move(context));
}

}  // namespace droidspeak

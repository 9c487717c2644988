// SPDX-License-Identifier: Apache-2.0
// The paper's four calls (section 4.5): one layer of one kind, copied from or to the caller's memory.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/src/client_impl.h"
#include "common/base/status.h"
#include "common/transport/messages.h"

namespace droidspeak {
namespace {

// A region with one slot a block, and the item that describes it: a block's bytes lie together, K before V.
struct Staged {
  std::unique_ptr<Region> region;
  TransferItem item;
  std::vector<uint32_t> slots;
};

absl::StatusOr<Staged> Stage(Client& client, const Layout& layout, Kind kind, int layer, size_t blocks, size_t bytes) {
  const uint64_t extent_bytes = layout.extent_bytes(kind);
  if (bytes != blocks * extent_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(bytes, " bytes; ", blocks, " full blocks have ", blocks * extent_bytes));
  }
  Staged staged;
  ASSIGN_OR_RETURN(staged.region, client.AllocateRegion(bytes));
  staged.item = {kind, layer, staged.region.get(), 0, kind == Kind::kKv ? layout.k_bytes() : 0, extent_bytes};
  for (size_t i = 0; i < blocks; ++i) staged.slots.push_back(static_cast<uint32_t>(i));
  return staged;
}

}  // namespace

absl::Status ClientImpl::StoreLayer(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, Kind kind, int layer,
                                    absl::Span<const std::byte> bytes) {
  StoreOptions options;
  options.blocks = BlockHashes(ns.bytes, tokens, ns.layout.block_tokens);
  options.parent = ns.bytes;
  if (options.blocks.empty()) return absl::OkStatus();
  if (layer < 0 || layer >= static_cast<int>(ns.layout.layers)) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer, "; the layout has ", ns.layout.layers));
  }
  (kind == Kind::kKv ? options.kv : options.e)[layer / 64] |= uint64_t{1} << (layer % 64);
  ASSIGN_OR_RETURN(const Staged staged, Stage(*this, ns.layout, kind, layer, options.blocks.size(), bytes.size()));
  std::memcpy(staged.region->data(), bytes.data(), bytes.size());
  std::vector<int> blocks(staged.slots.begin(), staged.slots.end());
  ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, StartStore(ns, std::move(options)));
  RETURN_IF_ERROR(store->Fill({staged.item}, blocks, staged.slots));
  return store->Seal(/*durable=*/false, absl::Now() + options_.request_timeout);
}

absl::StatusOr<int> ClientImpl::FetchLayer(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, Kind kind,
                                           int layer, absl::Span<std::byte> bytes) {
  FetchOptions options;
  options.blocks = BlockHashes(ns.bytes, tokens, ns.layout.block_tokens);
  if (options.blocks.empty()) return 0;
  const int blocks = static_cast<int>(options.blocks.size());
  ASSIGN_OR_RETURN(const Staged staged, Stage(*this, ns.layout, kind, layer, blocks, bytes.size()));
  options.items = {staged.item};
  options.slots = staged.slots;
  const absl::Time deadline = absl::Now() + options.deadline;
  ASSIGN_OR_RETURN(const std::unique_ptr<Fetch> fetch, StartFetch(ns, std::move(options)));
  const int good = fetch->Wait(0, blocks, deadline);
  std::memcpy(bytes.data(), staged.region->data(), good * ns.layout.extent_bytes(kind));
  return good;
}

absl::Status ClientImpl::StoreKv(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                                 absl::Span<const std::byte> kv) {
  return StoreLayer(ns, tokens, Kind::kKv, layer, kv);
}

absl::Status ClientImpl::StoreE(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                                absl::Span<const std::byte> e) {
  return StoreLayer(ns, tokens, Kind::kE, layer, e);
}

absl::StatusOr<int> ClientImpl::FetchKv(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                                        absl::Span<std::byte> kv) {
  return FetchLayer(ns, tokens, Kind::kKv, layer, kv);
}

absl::StatusOr<int> ClientImpl::FetchE(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                                       absl::Span<std::byte> e) {
  return FetchLayer(ns, tokens, Kind::kE, layer, e);
}

}  // namespace droidspeak

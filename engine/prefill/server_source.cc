// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/server_source.h"

#include <algorithm>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/arrival.h"

namespace droidspeak {
namespace {

int64_t BlockTokens(const ServerSourceOptions& options) {
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): one of them is there
  return (options.own ? options.own : options.sender)->layout.block_tokens;
}

bool HasAll(const std::array<uint64_t, 4>& have, const std::vector<int64_t>& layers) {
  return std::all_of(layers.begin(), layers.end(),
                     [&](int64_t layer) { return (have[layer / 64] >> (layer % 64) & 1) != 0; });
}

}  // namespace

std::vector<int64_t> AllLayers(int64_t layers) {
  std::vector<int64_t> all(layers);
  for (int64_t layer = 0; layer < layers; ++layer) all[layer] = layer;
  return all;
}

int64_t EndOfCovered(absl::Span<const BlockCoverage> blocks, int64_t from, const std::vector<int64_t>& kv_layers,
                     const std::vector<int64_t>& e_layers) {
  while (from < static_cast<int64_t>(blocks.size()) && HasAll(blocks[from].kv, kv_layers) &&
         HasAll(blocks[from].e, e_layers)) {
    ++from;
  }
  return from;
}

ServerSource::ServerSource(RemoteCache& cache, ServerSourceOptions options)
    : cache_(cache),
      options_(std::move(options)),
      block_tokens_(BlockTokens(options_)),
      offered_blocks_(
          std::min<int64_t>(static_cast<int64_t>(options_.tokens.size()) / block_tokens_, kMaxBlocksPerRequest)),
      resident_blocks_(options_.resident_tokens / block_tokens_) {
  if (options_.own) own_chain_ = ChainOf(*options_.own, options_.tokens);
  if (options_.sender) sender_chain_ = ChainOf(*options_.sender, options_.tokens);
  for (std::vector<Digest>* const chain : {&own_chain_, &sender_chain_}) {
    chain->resize(std::min(chain->size(), kMaxBlocksPerRequest));
  }
}

// Own blocks lead: with all layers, those that are in the slab already before all. From the first missing one on the
// sender's, as long as all the plan needs is there.
void ServerSource::LookUp(const Plan& plan) {
  looked_up_ = true;
  int64_t block = resident_blocks_;
  if (options_.own && block < offered_blocks_) {
    block = EndOfCovered(cache_.client().Coverage(*options_.own, own_chain_), block, AllLayers(plan.layers()),
                         options_.own_e_layers);
  }
  own_tokens_ = block * block_tokens_;
  if (options_.sender && !plan.is_full() && block < offered_blocks_) {
    block = EndOfCovered(cache_.client().Coverage(*options_.sender, sender_chain_), block, plan.kv_layers(),
                         plan.e_layers());
    if (block < offered_blocks_) loss_ = "missing";
  }
  tokens_ = block * block_tokens_;
  // Resident rows need not fill a block when nothing follows them.
  if (tokens_ < options_.resident_tokens) tokens_ = own_tokens_ = options_.resident_tokens;
}

std::vector<FetchItem> ServerSource::Items(const Plan& plan) const {
  const int resident = static_cast<int>(resident_blocks_);
  const int own = static_cast<int>(own_tokens_ / block_tokens_);
  const int all = static_cast<int>(tokens_ / block_tokens_);
  std::vector<FetchItem> items;
  const auto add = [&](bool of_sender, Kind kind, int64_t layer) {
    const int first = of_sender ? own : resident;
    const int blocks = (of_sender ? all : own) - first;
    if (blocks == 0) return;
    items.push_back({of_sender ? &*options_.sender : &*options_.own, of_sender ? &sender_chain_ : &own_chain_, kind,
                     static_cast<int>(layer), first, blocks});
  };
  const bool repairs = all > own;  // rows that a recomputed layer computes; they attend to the own ones first
  for (int64_t layer = 0; repairs && layer < plan.layers(); ++layer) {
    if (plan.recomputes(layer)) add(false, Kind::kKv, layer);
  }
  for (int64_t layer : plan.e_layers()) add(true, Kind::kE, layer);
  for (int64_t layer = 0; layer < plan.layers(); ++layer) {
    if (repairs && plan.recomputes(layer)) continue;
    add(false, Kind::kKv, layer);
    if (!plan.recomputes(layer)) add(true, Kind::kKv, layer);
  }
  return items;
}

absl::Status ServerSource::Begin(const Plan& plan, const ContextTarget& target) {
  target_ = target;
  if (!looked_up_) LookUp(plan);
  std::vector<FetchItem> items = Items(plan);
  if (items.empty()) return absl::OkStatus();
  int64_t sum = 0, largest = 0;
  for (const FetchItem& item : items) {
    sum += item.bytes();
    largest = std::max(largest, item.bytes());
  }
  const int64_t bytes = std::min(sum, std::max(options_.max_staging_bytes, largest));
  absl::StatusOr<Staging> staging = cache_.AllocateStaging(static_cast<uint64_t>(bytes));
  if (!staging.ok()) {
    loss_ = "no staging memory";
    tokens_ = own_tokens_ = options_.resident_tokens;
    return absl::OkStatus();
  }
  done_.assign(items.size(), 0);
  e_item_.assign(plan.layers(), -1);
  for (size_t index = 0; index < items.size(); ++index) {
    if (items[index].kind == Kind::kE) e_item_[items[index].layer] = static_cast<int>(index);
  }
  ring_ = std::make_unique<FetchRing>(cache_.client(), *std::move(staging), std::move(items), options_.deadline);
  ring_->Start();
  return absl::OkStatus();
}

// Of `item` only `good` blocks came: the context ends behind them.
void ServerSource::Lose(const FetchItem& item, int good) {
  if (good >= item.blocks) return;
  const int64_t left = (item.first_block + good) * block_tokens_;
  if (left >= tokens_) return;
  tokens_ = left;
  own_tokens_ = std::min(own_tokens_, left);
  loss_ = absl::StrCat("lost ", item.kind == Kind::kE ? "E" : "KV", " of layer ", item.layer, " at block ",
                       item.first_block + good);
}

void ServerSource::FinishItem(int index, int good) {
  done_[index] = 1;
  Lose(ring_->item(index), good);
  if (good == ring_->item(index).blocks) ring_->Release(index);
}

void ServerSource::ReleaseDoneE() {
  if (used_up_e_ < 0) return;
  const int index = std::exchange(used_up_e_, -1);
  FinishItem(index, ring_->item(index).blocks);
}

at::Tensor ServerSource::E(int64_t layer, int64_t row, int64_t max_rows) {
  if (ring_ == nullptr || e_item_[layer] < 0) return {};
  ReleaseDoneE();
  ring_->Start();
  const int index = e_item_[layer];
  if (!ring_->started(index)) PlaceUpTo(index);
  const FetchItem& item = ring_->item(index);
  const int from = static_cast<int>(row / block_tokens_) - item.first_block;
  int there = ring_->Ready(index);
  if (there <= from) there = std::max(ring_->Wait(index, from + 1), ring_->Ready(index));
  if (there <= from) {
    FinishItem(index, there);
    return {};
  }
  const int limit = static_cast<int>((tokens_ / block_tokens_) - item.first_block);
  if (limit <= from) return {};  // while this was waited for, something before it was lost
  const int most = static_cast<int>(std::max<int64_t>(1, max_rows / block_tokens_));
  const int blocks = std::min({there, limit, from + most}) - from;
  if (from + blocks == item.blocks) used_up_e_ = index;
  const Layout& layout = item.ns->layout;
  return at::from_blob(ring_->Data(index) + from * item.extent_bytes(), {blocks * block_tokens_, layout.hidden},
                       ScalarType(layout.e));
}

// What has not come by the deadline is not waited for either.
bool ServerSource::EArrived(int64_t layer, int64_t row) {
  if (ring_ == nullptr || e_item_[layer] < 0) return true;
  const int index = e_item_[layer];
  const int from = static_cast<int>(row / block_tokens_) - ring_->item(index).first_block;
  return ring_->Settled(index, from + 1) || absl::Now() >= ring_->deadline(index);
}

bool ServerSource::KvArrived() {
  if (ring_ == nullptr) return true;
  for (int index = 0; index < ring_->items(); ++index) {
    if (done_[index] || ring_->item(index).kind != Kind::kKv) continue;
    if (!ring_->Settled(index, NeededBlocks(index))) return absl::Now() >= ring_->deadline(index);
  }
  return true;
}

void ServerSource::EndRepair() {
  used_up_e_ = -1;
  for (int index : e_item_) {
    if (index < 0 || done_[index]) continue;
    // An E that was not needed to its end may still be arriving, so that its memory is not used again.
    const int blocks = ring_->item(index).blocks;
    if (ring_->Ready(index) == blocks) ring_->Release(index);
    done_[index] = 1;
  }
}

// The item's first `blocks` extents to the slab, below tokens().
void ServerSource::PlaceItem(int index, int blocks) {
  const FetchItem& item = ring_->item(index);
  const std::byte* data = ring_->Data(index);
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = (item.first_block + block) * block_tokens_;
      PlaceRows(target_, item.layer,
                {.extent = data + block * item.extent_bytes(),
                 .extent_tokens = block_tokens_,
                 .extent_row = row,
                 .begin = row,
                 .end = std::min(row + block_tokens_, tokens_)});
    }
  });
}

void ServerSource::Poll() {
  if (ring_ == nullptr) return;
  ReleaseDoneE();
  PlaceArrived();
}

int ServerSource::NeededBlocks(int index) const {
  const FetchItem& item = ring_->item(index);
  return std::clamp(static_cast<int>(tokens_ / block_tokens_) - item.first_block, 0, item.blocks);
}

void ServerSource::PlaceArrived() {
  std::vector<int> waiting;
  for (int index = 0; index < ring_->items() && ring_->started(index); ++index) {
    if (!done_[index] && ring_->item(index).kind == Kind::kKv) waiting.push_back(index);
  }
  std::vector<int> good_blocks(waiting.size(), -1);
  at::parallel_for(0, static_cast<int64_t>(waiting.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int good = ring_->Ready(waiting[i]);
      if (good < NeededBlocks(waiting[i])) continue;
      PlaceItem(waiting[i], good);
      good_blocks[i] = good;
    }
  });
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (good_blocks[i] >= 0) FinishItem(waiting[i], good_blocks[i]);
  }
  ring_->Start();
}

void ServerSource::Place(int64_t layer) {
  if (ring_ == nullptr) return;
  int last = -1;
  for (int index = 0; index < ring_->items(); ++index) {
    const FetchItem& item = ring_->item(index);
    if (item.kind == Kind::kKv && item.layer == layer && !done_[index]) last = index;
  }
  if (last < 0) return;
  PlaceArrived();
  PlaceUpTo(last);
}

// Items before `last` hold the memory that it may be waiting for.
void ServerSource::PlaceUpTo(int last) {
  for (int index = 0; index <= last; ++index) {
    if (done_[index] || ring_->item(index).kind != Kind::kKv) continue;
    const int good = ring_->Wait(index, NeededBlocks(index));
    PlaceItem(index, good);
    FinishItem(index, good);
    ring_->Start();
  }
}

void ServerSource::PlaceAll() {
  for (size_t index = 0; index < done_.size(); ++index) {
    if (!done_[index]) Place(ring_->item(static_cast<int>(index)).layer);
  }
}

SourceStats ServerSource::stats() const {
  if (ring_ == nullptr) return {};
  const FetchStats fetched = ring_->stats();
  return {.kv_bytes = fetched.kv_bytes, .e_bytes = fetched.e_bytes, .tier_extents = fetched.tier_extents};
}

}  // namespace droidspeak

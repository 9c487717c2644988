// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/fetch_ring.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/log.h"

namespace droidspeak {

FetchRing::FetchRing(Client& client, Staging staging, std::vector<FetchItem> items, absl::Duration patience)
    : client_(client),
      staging_(std::move(staging)),
      items_(std::move(items)),
      patience_(patience),
      offsets_(items_.size(), 0),
      released_(items_.size(), 0),
      batch_of_(items_.size(), -1) {}

FetchRing::~FetchRing() {
  const absl::Time limit = absl::Now() + absl::Seconds(1);
  for (Batch& batch : batches_) {
    if (batch.fetch != nullptr && !batch.fetch->Cancel(limit)) staging_.Abandon();
  }
  batches_.clear();
}

// The ring in use is [offset of oldest_, end of the last placed item), possibly wrapped.
bool FetchRing::Place(int index) {
  const int64_t capacity = static_cast<int64_t>(staging_.region().bytes());
  const int64_t bytes = items_[index].bytes();
  while (oldest_ < index && released_[oldest_]) ++oldest_;
  if (oldest_ == index) {
    offsets_[index] = 0;
    return bytes <= capacity;
  }
  const int64_t head = offsets_[oldest_];
  const int64_t tail = offsets_[index - 1] + items_[index - 1].bytes();
  if (offsets_[index - 1] >= head) {
    if (tail + bytes <= capacity) {
      offsets_[index] = tail;
      return true;
    }
    offsets_[index] = 0;
    return bytes <= head;
  }
  offsets_[index] = tail;
  return tail + bytes <= head;
}

void FetchRing::Start() {
  while (next_ < items()) {
    const int begin = next_;
    const auto together = [&](const FetchItem& item) {
      return item.ns == items_[begin].ns && item.first_block == items_[begin].first_block &&
             item.blocks == items_[begin].blocks;
    };
    int end = begin;
    while (end < items() && together(items_[end]) && Place(end)) ++end;
    if (end == begin) return;
    StartBatch(begin, end);
    next_ = end;
  }
}

void FetchRing::StartBatch(int begin, int end) {
  const FetchItem& first = items_[begin];
  FetchOptions options;
  for (int index = begin; index < end; ++index) {
    const FetchItem& item = items_[index];
    TransferItem transfer;
    transfer.kind = item.kind;
    transfer.layer = item.layer;
    transfer.region = &staging_.region();
    transfer.first = static_cast<uint64_t>(offsets_[index]);
    transfer.second = transfer.first + (item.kind == Kind::kKv ? item.ns->layout.k_bytes() : 0);
    transfer.slot_stride = static_cast<uint64_t>(item.extent_bytes());
    options.items.push_back(transfer);
    batch_of_[index] = static_cast<int>(batches_.size());
  }
  const auto block = first.chain->begin() + first.first_block;
  options.blocks.assign(block, block + first.blocks);
  options.first_position = first.first_block;
  options.stripe_key = (*first.chain)[StripeStart(first.first_block)];
  options.slots.resize(first.blocks);
  std::iota(options.slots.begin(), options.slots.end(), 0);
  options.deadline = patience_;
  absl::StatusOr<std::unique_ptr<Fetch>> fetch = client_.StartFetch(*first.ns, std::move(options));
  if (!fetch.ok()) spdlog::warn("fetch: {}", std::string(fetch.status().message()));
  batches_.push_back({fetch.ok() ? *std::move(fetch) : nullptr, begin, absl::Now() + patience_});
}

Fetch* FetchRing::FetchOf(int index, int* item_in_fetch) const {
  if (!started(index)) return nullptr;
  const Batch& batch = batches_[batch_of_[index]];
  *item_in_fetch = index - batch.first_item;
  return batch.fetch.get();
}

int FetchRing::Ready(int index) {
  int item = 0;
  Fetch* fetch = FetchOf(index, &item);
  return fetch == nullptr ? 0 : fetch->Ready(item);
}

int FetchRing::Wait(int index, int blocks) {
  int item = 0;
  Fetch* fetch = FetchOf(index, &item);
  return fetch == nullptr ? 0 : fetch->Wait(item, blocks, deadline(index));
}

absl::Time FetchRing::deadline(int index) const {
  if (batches_.empty()) return absl::InfinitePast();
  return started(index) ? batches_[batch_of_[index]].deadline : batches_.back().deadline;
}

bool FetchRing::Settled(int index, int blocks) {
  if (!started(index)) return false;
  int item = 0;
  Fetch* fetch = FetchOf(index, &item);
  return fetch == nullptr || fetch->Settled(item, blocks);
}

FetchStats FetchRing::stats() const {
  FetchStats sum;
  for (const Batch& batch : batches_) {
    if (batch.fetch == nullptr) continue;
    const FetchStats part = batch.fetch->stats();
    sum.kv_bytes += part.kv_bytes;
    sum.e_bytes += part.e_bytes;
    for (size_t tier = 0; tier < sum.tier_bytes.size(); ++tier) {
      sum.tier_bytes[tier] += part.tier_bytes[tier];
      sum.tier_extents[tier] += part.tier_extents[tier];
    }
  }
  return sum;
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// Coverage and fetch.
#include <algorithm>

#include "common/transport/codec.h"

namespace droidspeak::wire {

static_assert(sizeof(BlockCoverage) == 64 && offsetof(BlockCoverage, e) == 32, "copied as it lies in memory");

void Put(Writer& out, const CoverageRequest& m) {
  DROIDSPEAK_CHECK(m.groups.size() <= kMaxCoverageGroups);
  DROIDSPEAK_CHECK(m.hold_ms <= kMaxHoldMs);
  out.Struct(CoverageBody{m.hold_ms, static_cast<uint32_t>(m.groups.size())});
  size_t blocks = 0;
  for (const CoverageGroup& group : m.groups) {
    out.Struct(CoverageGroupHead{group.namespace_id, static_cast<uint32_t>(group.blocks.size())});
    blocks += group.blocks.size();
  }
  DROIDSPEAK_CHECK(blocks <= kMaxBlocksPerMessage);
  for (const CoverageGroup& group : m.groups) out.Array(group.blocks);
}

bool Get(Reader& in, CoverageRequest& m) {
  CoverageBody body;
  if (!in.Struct(body) || body.groups > kMaxCoverageGroups || body.hold_ms > kMaxHoldMs) return false;
  std::vector<CoverageGroupHead> heads;
  if (!in.Array(body.groups, heads)) return false;
  m.hold_ms = body.hold_ms;
  m.groups.resize(heads.size());
  uint32_t left = kMaxBlocksPerMessage;
  for (size_t i = 0; i < heads.size(); ++i) {
    if (heads[i].blocks > left || !in.Array(heads[i].blocks, m.groups[i].blocks)) return false;
    left -= heads[i].blocks;
    m.groups[i].namespace_id = heads[i].namespace_id;
  }
  return true;
}

void Put(Writer& out, const CoverageAnswer& m) {
  DROIDSPEAK_CHECK(m.blocks.size() <= kMaxBlocksPerMessage);
  out.Struct(CoverageAnswerBody{static_cast<uint32_t>(m.blocks.size()), 0});
  out.Array(m.blocks);
}

bool Get(Reader& in, CoverageAnswer& m) {
  CoverageAnswerBody body;
  if (!in.Struct(body) || body.reserved != 0 || body.blocks > kMaxBlocksPerMessage) return false;
  return in.Array(body.blocks, m.blocks);
}

void PutItems(Writer& out, const std::vector<TransferItem>& items) {
  for (const TransferItem& item : items) {
    DROIDSPEAK_CHECK(item.layer < kMaxLayers);
    ItemBody body{
        static_cast<uint8_t>(item.kind), 0, item.layer, item.first.region, 0, 0, item.first.base, 0, item.slot_stride};
    if (item.kind == Kind::kKv) {
      body.second_region = item.second.region;
      body.second_base = item.second.base;
    }
    out.Struct(body);
  }
}

bool GetItems(Reader& in, uint32_t count, std::vector<TransferItem>& items) {
  std::vector<ItemBody> bodies;
  if (count > kMaxItemsPerMessage || !in.Array(count, bodies)) return false;
  items.reserve(count);
  for (const ItemBody& body : bodies) {
    if (body.kind > static_cast<uint8_t>(Kind::kE) || body.layer >= kMaxLayers) return false;
    if (body.reserved != 0 || body.reserved2 != 0) return false;
    const auto kind = static_cast<Kind>(body.kind);
    if (kind == Kind::kE && (body.second_region != 0 || body.second_base != 0)) return false;
    items.push_back({kind,
                     body.layer,
                     {body.first_region, body.first_base},
                     {body.second_region, body.second_base},
                     body.slot_stride});
  }
  return true;
}

void Put(Writer& out, const FetchRequest& m) {
  DROIDSPEAK_CHECK(m.items.size() <= kMaxItemsPerMessage);
  DROIDSPEAK_CHECK(m.blocks.size() <= kMaxBlocksPerMessage);
  DROIDSPEAK_CHECK(m.slots.size() == m.blocks.size());
  DROIDSPEAK_CHECK(m.priority <= 1);
  out.Struct(FetchBody{m.namespace_id, m.remaining_ms, m.priority, m.checksums ? kFetchFlagChecksums : 0,
                       static_cast<uint32_t>(m.items.size()), static_cast<uint32_t>(m.blocks.size())});
  PutItems(out, m.items);
  out.Array(m.blocks);
  out.Array(m.slots);
}

bool Get(Reader& in, FetchRequest& m) {
  FetchBody body;
  if (!in.Struct(body) || body.priority > 1 || (body.flags & ~kFetchFlagChecksums) != 0) return false;
  if (body.blocks > kMaxBlocksPerMessage) return false;
  m.namespace_id = body.namespace_id;
  m.remaining_ms = body.remaining_ms;
  m.priority = body.priority;
  m.checksums = (body.flags & kFetchFlagChecksums) != 0;
  return GetItems(in, body.items, m.items) && in.Array(body.blocks, m.blocks) && in.Array(body.blocks, m.slots);
}

void Put(Writer& out, const FetchAccepted& m) {
  AcceptedBody body{m.blocks, {}, {}};
  std::copy(m.tier_extents.begin(), m.tier_extents.end(), body.tier_extents);
  std::copy(m.tier_bytes.begin(), m.tier_bytes.end(), body.tier_bytes);
  out.Struct(body);
}

bool Get(Reader& in, FetchAccepted& m) {
  AcceptedBody body;
  if (!in.Struct(body) || body.blocks > kMaxBlocksPerMessage) return false;
  m.blocks = body.blocks;
  std::copy(std::begin(body.tier_extents), std::end(body.tier_extents), m.tier_extents.begin());
  std::copy(std::begin(body.tier_bytes), std::end(body.tier_bytes), m.tier_bytes.begin());
  return true;
}

void Put(Writer& out, const LayerDone& m) {
  DROIDSPEAK_CHECK(m.item < kMaxItemsPerMessage);
  DROIDSPEAK_CHECK(m.checksums.size() <= kMaxBlocksPerMessage);
  out.Struct(LayerDoneBody{m.item, m.first_block, static_cast<uint32_t>(m.checksums.size()), 0});
  out.Array(m.checksums);
}

bool Get(Reader& in, LayerDone& m) {
  LayerDoneBody body;
  if (!in.Struct(body) || body.reserved != 0 || body.item >= kMaxItemsPerMessage) return false;
  if (body.first_block > kMaxBlocksPerMessage || body.checksums > kMaxBlocksPerMessage - body.first_block) return false;
  m.item = body.item;
  m.first_block = body.first_block;
  return in.Array(body.checksums, m.checksums);
}

}  // namespace droidspeak::wire

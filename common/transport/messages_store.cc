// SPDX-License-Identifier: Apache-2.0
// Store: offer, fill, seal.
#include <algorithm>

#include "common/transport/codec.h"

namespace droidspeak::wire {

static_assert(sizeof(OfferBlock) == sizeof(OfferBlockBody) && offsetof(OfferBlock, position) == 64,
              "copied as it lies in memory");
static_assert(sizeof(BlockOffer) == 128 && offsetof(BlockOffer, busy_kv) == 32 && offsetof(BlockOffer, want_e) == 64,
              "copied as it lies in memory");

void Put(Writer& out, const OfferRequest& m) {
  DROIDSPEAK_CHECK(m.blocks.size() <= kMaxBlocksPerMessage);
  OfferBody body{m.namespace_id, static_cast<uint32_t>(m.blocks.size()), {}, {}};
  std::copy(m.kv.begin(), m.kv.end(), body.kv);
  std::copy(m.e.begin(), m.e.end(), body.e);
  out.Struct(body);
  out.Array(m.blocks);
}

bool Get(Reader& in, OfferRequest& m) {
  OfferBody body;
  if (!in.Struct(body) || body.blocks > kMaxBlocksPerMessage) return false;
  m.namespace_id = body.namespace_id;
  std::copy(std::begin(body.kv), std::end(body.kv), m.kv.begin());
  std::copy(std::begin(body.e), std::end(body.e), m.e.begin());
  return in.Array(body.blocks, m.blocks);
}

void Put(Writer& out, const OfferAnswer& m) {
  DROIDSPEAK_CHECK(m.blocks.size() <= kMaxBlocksPerMessage);
  out.Struct(OfferAnswerBody{m.lease_ms, static_cast<uint32_t>(m.blocks.size())});
  out.Array(m.blocks);
}

bool Get(Reader& in, OfferAnswer& m) {
  OfferAnswerBody body;
  if (!in.Struct(body) || body.blocks > kMaxBlocksPerMessage) return false;
  m.lease_ms = body.lease_ms;
  return in.Array(body.blocks, m.blocks);
}

void Put(Writer& out, const FillRequest& m) {
  DROIDSPEAK_CHECK(m.items.size() <= kMaxItemsPerMessage);
  DROIDSPEAK_CHECK(m.blocks.size() <= kMaxBlocksPerMessage);
  DROIDSPEAK_CHECK(m.slots.size() == m.blocks.size());
  DROIDSPEAK_CHECK(m.checksums.size() == m.items.size() * m.blocks.size());
  DROIDSPEAK_CHECK(m.checksums.size() <= kMaxExtentsPerFill);
  out.Struct(FillBody{m.offer_id, static_cast<uint32_t>(m.items.size()), static_cast<uint32_t>(m.blocks.size())});
  PutItems(out, m.items);
  out.Array(m.blocks);
  out.Array(m.slots);
  out.Array(m.checksums);
}

bool Get(Reader& in, FillRequest& m) {
  FillBody body;
  if (!in.Struct(body) || body.blocks > kMaxBlocksPerMessage || !GetItems(in, body.items, m.items)) return false;
  const size_t extents = size_t{body.items} * body.blocks;
  if (extents > kMaxExtentsPerFill) return false;
  m.offer_id = body.offer_id;
  if (!in.Array(body.blocks, m.blocks) || !in.Array(body.blocks, m.slots) || !in.Array(extents, m.checksums)) {
    return false;
  }
  return std::all_of(m.blocks.begin(), m.blocks.end(), [](uint32_t block) { return block < kMaxBlocksPerMessage; });
}

void Put(Writer& out, const SealRequest& m) {
  out.Struct(SealBody{m.offer_id, m.durable ? 1u : 0u, 0});
}

bool Get(Reader& in, SealRequest& m) {
  SealBody body;
  if (!in.Struct(body) || body.durable > 1 || body.reserved != 0) return false;
  m.offer_id = body.offer_id;
  m.durable = body.durable == 1;
  return true;
}

}  // namespace droidspeak::wire

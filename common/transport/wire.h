// SPDX-License-Identifier: Apache-2.0
// The bytes of the data plane's messages: a header, one fixed struct, then arrays in the order of its counts. All
// little-endian and without hidden padding; reserved fields are zero and refused otherwise, so that a later version may
// give them a meaning. messages.h has the same as values to work with, docs/protocol.md the meaning.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace droidspeak::wire {

static_assert(std::endian::native == std::endian::little, "the structs below are copied as they are");

inline constexpr uint32_t kMagic = 0x31505344;  // "DSP1"
inline constexpr uint16_t kVersion = 1;

// The values are on the wire. Order of messages.h.
enum class MessageType : uint16_t {
  kClientHello = 1,
  kServerHello = 2,
  kClientProof = 3,
  kHelloDone = 4,
  kCoverageRequest = 5,
  kCoverageAnswer = 6,
  kFetchRequest = 7,
  kFetchAccepted = 8,
  kLayerDone = 9,
  kFetchDone = 10,
  kOfferRequest = 11,
  kOfferAnswer = 12,
  kFillRequest = 13,
  kFilled = 14,
  kSealRequest = 15,
  kSealed = 16,
  kCancelRequest = 17,
  kCancelled = 18,
  kActionRequest = 19,
  kStatusAnswer = 20,
};

struct Header {
  uint32_t magic;
  uint16_t version;
  uint16_t type;
  uint32_t bytes;  // of the whole message
  uint32_t reserved;
  uint64_t request_id;  // 0 in the hello
};
static_assert(sizeof(Header) == 24 && offsetof(Header, bytes) == 8 && offsetof(Header, request_id) == 16);

struct HelloBody {  // ClientHello
  uint64_t session_id;
  uint32_t connection;
  uint32_t reserved;
  uint8_t nonce[32];
};
static_assert(sizeof(HelloBody) == 48 && offsetof(HelloBody, nonce) == 16);

struct ServerHelloBody {
  uint8_t nonce[32];
  uint8_t mac[32];
};
static_assert(sizeof(ServerHelloBody) == 64);

struct ProofBody {  // ClientProof
  uint8_t mac[32];
};
static_assert(sizeof(ProofBody) == 32);

// Then: CoverageGroupHead[groups], the groups' digests.
struct CoverageBody {
  uint32_t hold_ms;
  uint32_t groups;
};
static_assert(sizeof(CoverageBody) == 8);

struct CoverageGroupHead {
  uint32_t namespace_id;
  uint32_t blocks;
};
static_assert(sizeof(CoverageGroupHead) == 8);

// Then: u64[8] a block, bits of KV and of E.
struct CoverageAnswerBody {
  uint32_t blocks;
  uint32_t reserved;
};
static_assert(sizeof(CoverageAnswerBody) == 8);

struct ItemBody {  // TransferItem
  uint8_t kind;
  uint8_t reserved;
  uint16_t layer;
  uint32_t first_region;
  uint32_t second_region;  // both of the second place are 0 for E
  uint32_t reserved2;
  uint64_t first_base;
  uint64_t second_base;
  uint64_t slot_stride;
};
static_assert(sizeof(ItemBody) == 40 && offsetof(ItemBody, first_base) == 16 && offsetof(ItemBody, slot_stride) == 32);

inline constexpr uint32_t kFetchFlagChecksums = 1;

// Then: ItemBody[items], digest[blocks], u32 slot[blocks].
struct FetchBody {
  uint32_t namespace_id;
  uint32_t remaining_ms;
  uint32_t priority;
  uint32_t flags;
  uint32_t items;
  uint32_t blocks;
};
static_assert(sizeof(FetchBody) == 24 && offsetof(FetchBody, flags) == 12);

struct AcceptedBody {  // FetchAccepted
  uint32_t blocks;
  uint32_t tier_extents[3];
  uint64_t tier_bytes[3];
};
static_assert(sizeof(AcceptedBody) == 40 && offsetof(AcceptedBody, tier_bytes) == 16);

// Then: u64 checksum[checksums].
struct LayerDoneBody {
  uint32_t item;
  uint32_t first_block;
  uint32_t checksums;
  uint32_t reserved;
};
static_assert(sizeof(LayerDoneBody) == 16);

// FetchDone, Filled (count: extents), Sealed, StatusAnswer. Then: the text.
struct StatusBody {
  uint32_t code;
  uint32_t count;
  uint32_t retry_ms;
  uint32_t text_bytes;
};
static_assert(sizeof(StatusBody) == 16 && offsetof(StatusBody, text_bytes) == 12);

// Then: OfferBlockBody[blocks].
struct OfferBody {
  uint32_t namespace_id;
  uint32_t blocks;
  uint64_t kv[4];
  uint64_t e[4];
};
static_assert(sizeof(OfferBody) == 72 && offsetof(OfferBody, e) == 40);

struct OfferBlockBody {
  uint8_t hash[32];
  uint8_t parent[32];
  uint32_t position;
};
static_assert(sizeof(OfferBlockBody) == 68 && offsetof(OfferBlockBody, position) == 64);

// Then: u64[16] a block, bits of KV wanted, KV busy, E wanted, E busy.
struct OfferAnswerBody {
  uint32_t lease_ms;
  uint32_t blocks;
};
static_assert(sizeof(OfferAnswerBody) == 8);

// Then: ItemBody[items], u32 block[blocks], u32 slot[blocks], u64 checksum[items * blocks].
struct FillBody {
  uint64_t offer_id;
  uint32_t items;
  uint32_t blocks;
};
static_assert(sizeof(FillBody) == 16);

struct SealBody {
  uint64_t offer_id;
  uint32_t durable;  // 0 or 1
  uint32_t reserved;
};
static_assert(sizeof(SealBody) == 16);

// Then: digest[blocks].
struct ActionBody {
  uint32_t namespace_id;
  uint32_t action;
  uint32_t blocks;
  uint32_t reserved;
};
static_assert(sizeof(ActionBody) == 16);

}  // namespace droidspeak::wire

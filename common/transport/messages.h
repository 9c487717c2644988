// SPDX-License-Identifier: Apache-2.0
// The data plane's messages as plain structs, with Encode and Decode side by side. wire.h has the bytes.
//
// Decoding trusts nothing: every count is checked against its limit and against the message's length before it is used,
// unknown types, kinds and versions are refused with INVALID_ARGUMENT. Ranges are checked by whoever knows the memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/key/digest.h"
#include "common/key/kind.h"

// In a namespace of its own: the client's public types have the same names.
namespace droidspeak::wire {

inline constexpr uint32_t kMaxBlocksPerMessage = 4096;  // of all groups together
inline constexpr uint32_t kMaxLayers = 256;
inline constexpr uint32_t kMaxItemsPerMessage = 2 * kMaxLayers;
inline constexpr uint32_t kMaxExtentsPerFill = 32768;  // items x blocks of one FillRequest
inline constexpr uint32_t kMaxCoverageGroups = 16;
inline constexpr uint32_t kMaxStatusTextBytes = 1024;
inline constexpr uint32_t kMaxHoldMs = 2000;

// One bit a layer. Layers beyond the layout's are zero.
using LayerBits = std::array<uint64_t, kMaxLayers / 64>;

// --- The hello: nothing else is parsed before it has passed. See hello.h.
using Nonce = std::array<uint8_t, 32>;
using Mac = std::array<uint8_t, 32>;
struct ClientHello {
  uint64_t session_id;
  uint32_t connection;
  Nonce nonce;
};
struct ServerHello {
  Nonce nonce;
  Mac mac;
};
struct ClientProof {
  Mac mac;
};
struct HelloDone {};

// --- Coverage: which layers of which blocks are there.
struct CoverageGroup {
  uint32_t namespace_id;
  std::vector<Digest> blocks;
};
struct CoverageRequest {
  uint64_t request_id;
  uint32_t hold_ms;
  std::vector<CoverageGroup> groups;
};  // hold_ms 0: none
struct BlockCoverage {
  LayerBits kv;
  LayerBits e;
};
struct CoverageAnswer {
  uint64_t request_id;
  std::vector<BlockCoverage> blocks;
};  // groups' blocks, concatenated

// --- Fetch. K and V of a block land in separate places; E uses only `first`. A block's bytes of an item go to
// base + slot * slot_stride, with the slot of that block.
struct Place {
  uint32_t region;
  uint64_t base;
};
struct TransferItem {
  Kind kind;
  uint16_t layer;
  Place first;   // K, or E
  Place second;  // V; unused for E
  uint64_t slot_stride;
};
struct FetchRequest {
  uint64_t request_id;
  uint32_t namespace_id;
  uint32_t remaining_ms;
  uint32_t priority;                // 0 first tokens, 1 prefetch
  bool checksums;                   // false: none wanted, for benchmarks
  std::vector<TransferItem> items;  // in the order wanted
  std::vector<Digest> blocks;       // a run of a chain
  std::vector<uint32_t> slots;      // one a block
};
// The server holds references on all that it accepted. `blocks` is the leading run in which every item is there.
struct FetchAccepted {
  uint64_t request_id;
  uint32_t blocks;
  std::array<uint64_t, 3> tier_bytes;
  std::array<uint32_t, 3> tier_extents;
};
// Blocks [first_block, first_block + checksums.size()) of an item have landed.
struct LayerDone {
  uint64_t request_id;
  uint32_t item;
  uint32_t first_block;
  std::vector<uint64_t> checksums;
};
// No byte of this request will move any more. Not OK: what had no LayerDone did not arrive.
struct FetchDone {
  uint64_t request_id;
  uint32_t code;
  std::string text;
};

// --- Store: offer, fill, seal.
struct OfferBlock {
  Digest hash;
  Digest parent;
  uint32_t position;
};  // position of the block in its chain, from 0
struct OfferRequest {
  uint64_t request_id;
  uint32_t namespace_id;
  LayerBits kv;
  LayerBits e;
  std::vector<OfferBlock> blocks;
};
struct BlockOffer {
  LayerBits want_kv;
  LayerBits busy_kv;
  LayerBits want_e;
  LayerBits busy_e;
};  // neither: HAVE
struct OfferAnswer {
  uint64_t request_id;
  uint32_t lease_ms;
  std::vector<BlockOffer> blocks;
};
// Fills items of blocks that the offer wants. The sources stay unchanged until Filled.
struct FillRequest {
  uint64_t request_id;
  uint64_t offer_id;  // request_id of the OfferRequest
  std::vector<TransferItem> items;
  std::vector<uint32_t> blocks;     // indices into the offer's blocks
  std::vector<uint32_t> slots;      // one a block
  std::vector<uint64_t> checksums;  // items x blocks, item by item
};
struct Filled {
  uint64_t request_id;
  uint32_t extents;
  uint32_t code;
  std::string text;
};  // extents now readable
struct SealRequest {
  uint64_t request_id;
  uint64_t offer_id;
  bool durable;
};
struct Sealed {
  uint64_t request_id;
  uint32_t code;
  std::string text;
};

struct CancelRequest {
  uint64_t request_id;
};  // of the request to cancel
struct Cancelled {
  uint64_t request_id;
};  // the server has drained all that it did for it

enum class BlockAction : uint8_t { kPin = 0, kUnpin = 1, kRemove = 2 };
struct ActionRequest {
  uint64_t request_id;
  uint32_t namespace_id;
  BlockAction action;
  std::vector<Digest> blocks;
};
// The answer to ActionRequest (count = blocks changed), and to any request that is refused. code is an
// absl::StatusCode.
struct StatusAnswer {
  uint64_t request_id;
  uint32_t code;
  uint32_t count;
  uint32_t retry_ms;
  std::string text;
};

using Message = std::variant<ClientHello, ServerHello, ClientProof, HelloDone, CoverageRequest, CoverageAnswer,
                             FetchRequest, FetchAccepted, LayerDone, FetchDone, OfferRequest, OfferAnswer, FillRequest,
                             Filled, SealRequest, Sealed, CancelRequest, Cancelled, ActionRequest, StatusAnswer>;

// The bytes of `message`. The caller keeps to the limits above (checked, in release too); only a status text above its
// limit is cut.
std::vector<std::byte> Encode(const Message& message);

// The message in `bytes`, all of which it must be.
[[nodiscard]] absl::StatusOr<Message> Decode(absl::Span<const std::byte> bytes);

}  // namespace droidspeak::wire

// SPDX-License-Identifier: Apache-2.0
// The bytes of the RocksDB tier: keys, directory rows and the headers of extents. Little-endian; encode beside decode.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cacheserver/index/block.h"
#include "cacheserver/store/handles.h"
#include "common/key/layout.h"

namespace droidspeak {

inline constexpr uint32_t kStoreFormatVersion = 2;

// Keys. Directory: one byte of type, then the identity. Extents: tenant (big-endian, so that tenants lie apart) ‖ hash
// ‖ kind ‖ layer.
std::string StoreRowKey();                           // of the StoreRow
std::string NamespaceRowKey(uint32_t namespace_id);  // of a NamespaceRow
std::string BlockRowKey(const BlockKey& block);      // of a BlockRow
std::string PinRowKey(const BlockKey& block);        // of a PinRow
std::string ExtentKey(const BlockKey& block, ExtentSelector extent);
enum class RowType : char { kStore = 'S', kNamespace = 'N', kPin = 'P', kBlock = 'b' };

struct StoreRow {
  uint32_t format_version = kStoreFormatVersion;
  Digest cluster_secret_id;
  static absl::StatusOr<StoreRow> Decode(std::string_view bytes);
  std::string Encode() const;
};

struct NamespaceRow {
  uint32_t id = 0;
  uint32_t tenant = 0;
  Digest name;
  Layout layout;
  std::string tenant_name;      // whose number `tenant` is
  std::optional<Digest> model;  // whose blocks these are (model_digest.h), where that is known
  static absl::StatusOr<NamespaceRow> Decode(std::string_view key, std::string_view bytes);
  std::string Encode() const;
};

// What is on disk of a block. checksums[kind] has one value a layer in bits[kind], ascending. The row ends with a
// checksum of its own: DATA_LOSS when it does not match.
struct BlockRow {
  BlockKey block;
  Digest parent;
  uint32_t namespace_id = 0;
  uint32_t position = 0;
  uint32_t expiry = 0;
  uint16_t layers = 0;
  std::array<wire::LayerBits, 2> bits{};
  std::array<std::vector<uint64_t>, 2> checksums;

  // Adds an extent that is not in the row.
  void Add(ExtentSelector extent, uint64_t checksum);
  static absl::StatusOr<BlockRow> Decode(std::string_view key, std::string_view bytes);
  std::string Encode() const;
};

// An operator's pin of a block; it may outlive the block.
struct PinRow {
  BlockKey block;
  uint32_t namespace_id = 0;
  static absl::StatusOr<PinRow> Decode(std::string_view key, std::string_view bytes);
  std::string Encode() const;
};

// Before the bytes of an extent.
struct ExtentHeader {
  static constexpr size_t kBytes = 64;
  BlockKey block;
  ExtentSelector extent;
  uint64_t bytes = 0;
  uint64_t checksum = 0;
  std::array<char, kBytes> Encode() const;
  // Nothing for another magic, version or a wrong length.
  static std::optional<ExtentHeader> Decode(std::string_view value);
};

}  // namespace droidspeak

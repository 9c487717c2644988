// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/records.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/key/checksum.h"

namespace droidspeak {
namespace {

static_assert(std::endian::native == std::endian::little, "records are little-endian");

constexpr uint32_t kExtentMagic = 0x58455344;  // "DSEX"
constexpr uint16_t kExtentVersion = 1;

template <typename T>
void Append(std::string& out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Takes values off the front; ok() turns false when they run out.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  template <typename T>
  T Take() {
    T value{};
    if (rest_.size() < sizeof(T)) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return value;
  }
  bool ok() const { return ok_; }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

uint64_t HashOf(std::string_view a, std::string_view b) {
  const std::string both = absl::StrCat(ToAbsl(a), ToAbsl(b));
  return ChunkHash({reinterpret_cast<const std::byte*>(both.data()), both.size()});
}

// Every row ends with a hash of its key and its bytes.
std::string Sealed(const std::string& key, std::string row) {
  Append(row, HashOf(key, row));
  return row;
}

absl::StatusOr<std::string_view> Unsealed(std::string_view key, std::string_view row) {
  constexpr size_t kHashBytes = sizeof(uint64_t);
  if (row.size() < kHashBytes) return absl::DataLossError("a directory row is cut short");
  const std::string_view body = row.substr(0, row.size() - kHashBytes);
  if (Reader(row.substr(body.size())).Take<uint64_t>() != HashOf(key, body)) {
    return absl::DataLossError("a directory row does not match its checksum");
  }
  return body;
}

// What follows the row's type in its key. A key without even that has nothing.
Reader AfterType(std::string_view key) {
  return Reader(key.substr(std::min<size_t>(1, key.size())));
}

uint32_t Popcount(const wire::LayerBits& bits) {
  uint32_t count = 0;
  for (uint64_t word : bits) count += std::popcount(word);
  return count;
}

BlockKey TakeIdentity(Reader& reader) {
  BlockKey block;
  for (int i = 0; i < 4; ++i) block.tenant = block.tenant << 8 | reader.Take<uint8_t>();
  block.hash = reader.Take<Digest>();
  return block;
}

std::string IdentityKey(const BlockKey& block) {
  std::string key;
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<char>(block.tenant >> shift));
  key.append(block.hash.view());
  return key;
}

}  // namespace

std::string StoreRowKey() {
  return std::string(1, static_cast<char>(RowType::kStore));
}

std::string NamespaceRowKey(uint32_t namespace_id) {
  std::string key(1, static_cast<char>(RowType::kNamespace));
  Append(key, namespace_id);
  return key;
}

std::string BlockRowKey(const BlockKey& block) {
  return static_cast<char>(RowType::kBlock) + IdentityKey(block);
}

std::string PinRowKey(const BlockKey& block) {
  return static_cast<char>(RowType::kPin) + IdentityKey(block);
}

std::string ExtentKey(const BlockKey& block, ExtentSelector extent) {
  std::string key = IdentityKey(block);
  key.push_back(static_cast<char>(extent.kind));
  key.push_back(static_cast<char>(extent.layer >> 8));
  key.push_back(static_cast<char>(extent.layer));
  return key;
}

std::string StoreRow::Encode() const {
  std::string row;
  Append(row, format_version);
  Append(row, cluster_secret_id);
  return Sealed(StoreRowKey(), std::move(row));
}

absl::StatusOr<StoreRow> StoreRow::Decode(std::string_view bytes) {
  StoreRow row;
  // The version stands first in all versions, whatever follows.
  row.format_version = Reader(bytes).Take<uint32_t>();
  if (row.format_version != kStoreFormatVersion) return row;
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(StoreRowKey(), bytes));
  Reader reader(body);
  reader.Take<uint32_t>();
  row.cluster_secret_id = reader.Take<Digest>();
  if (!reader.ok()) return absl::DataLossError("the store's row is cut short");
  return row;
}

std::string NamespaceRow::Encode() const {
  std::string row;
  Append(row, tenant);
  Append(row, name);
  Append(row, static_cast<uint32_t>(tenant_name.size()));
  row.append(tenant_name);
  Append(row, model.value_or(Digest{}));
  row.append(layout.ToString());
  return Sealed(NamespaceRowKey(id), std::move(row));
}

absl::StatusOr<NamespaceRow> NamespaceRow::Decode(std::string_view key, std::string_view bytes) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(key, bytes));
  NamespaceRow row;
  Reader key_reader = AfterType(key);
  row.id = key_reader.Take<uint32_t>();
  Reader reader(body);
  row.tenant = reader.Take<uint32_t>();
  row.name = reader.Take<Digest>();
  const auto tenant_bytes = reader.Take<uint32_t>();
  if (!reader.ok() || !key_reader.ok() || reader.rest().size() < tenant_bytes || key != NamespaceRowKey(row.id)) {
    return absl::DataLossError("a namespace's row is cut short");
  }
  row.tenant_name = std::string(reader.rest().substr(0, tenant_bytes));
  Reader rest(reader.rest().substr(tenant_bytes));
  if (const auto model = rest.Take<Digest>(); model != Digest{}) row.model = model;
  if (!rest.ok()) return absl::DataLossError("a namespace's row is cut short");
  ASSIGN_OR_RETURN(row.layout, Layout::Parse(rest.rest()));
  return row;
}

void BlockRow::Add(ExtentSelector extent, uint64_t checksum) {
  wire::LayerBits& kind_bits = bits[static_cast<size_t>(extent.kind)];
  wire::LayerBits before{};
  for (uint32_t word = 0; word <= extent.layer / 64u; ++word) before[word] = kind_bits[word];
  before[extent.layer / 64] &= (uint64_t{1} << (extent.layer % 64)) - 1;
  auto& values = checksums[static_cast<size_t>(extent.kind)];
  values.insert(values.begin() + Popcount(before), checksum);
  kind_bits[extent.layer / 64] |= uint64_t{1} << (extent.layer % 64);
}

std::string BlockRow::Encode() const {
  std::string row;
  Append(row, parent);
  Append(row, namespace_id);
  Append(row, position);
  Append(row, expiry);
  Append(row, layers);
  for (const wire::LayerBits& kind_bits : bits) {
    for (uint32_t word = 0; word < (layers + 63u) / 64; ++word) Append(row, kind_bits[word]);
  }
  for (const auto& values : checksums) {
    for (uint64_t checksum : values) Append(row, checksum);
  }
  return Sealed(BlockRowKey(block), std::move(row));
}

absl::StatusOr<BlockRow> BlockRow::Decode(std::string_view key, std::string_view bytes) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(key, bytes));
  BlockRow row;
  Reader key_reader = AfterType(key);
  row.block = TakeIdentity(key_reader);
  Reader reader(body);
  row.parent = reader.Take<Digest>();
  row.namespace_id = reader.Take<uint32_t>();
  row.position = reader.Take<uint32_t>();
  row.expiry = reader.Take<uint32_t>();
  row.layers = reader.Take<uint16_t>();
  if (row.layers > wire::kMaxLayers) return absl::DataLossError("a block's row has too many layers");
  for (wire::LayerBits& kind_bits : row.bits) {
    for (uint32_t word = 0; word < (row.layers + 63u) / 64; ++word) kind_bits[word] = reader.Take<uint64_t>();
  }
  for (size_t kind = 0; kind < row.bits.size(); ++kind) {
    row.checksums[kind].resize(Popcount(row.bits[kind]));
    for (uint64_t& checksum : row.checksums[kind]) checksum = reader.Take<uint64_t>();
  }
  if (!reader.ok() || !key_reader.ok() || !reader.rest().empty() || key != BlockRowKey(row.block)) {
    return absl::DataLossError("a block's row has a wrong length");
  }
  return row;
}

std::string PinRow::Encode() const {
  std::string row;
  Append(row, namespace_id);
  return Sealed(PinRowKey(block), std::move(row));
}

absl::StatusOr<PinRow> PinRow::Decode(std::string_view key, std::string_view bytes) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(key, bytes));
  PinRow row;
  Reader key_reader = AfterType(key);
  row.block = TakeIdentity(key_reader);
  Reader reader(body);
  row.namespace_id = reader.Take<uint32_t>();
  if (!reader.ok() || !key_reader.ok() || !reader.rest().empty() || key != PinRowKey(row.block)) {
    return absl::DataLossError("a pin's row has a wrong length");
  }
  return row;
}

std::array<char, ExtentHeader::kBytes> ExtentHeader::Encode() const {
  std::string out;
  Append(out, kExtentMagic);
  Append(out, kExtentVersion);
  Append(out, static_cast<uint8_t>(extent.kind));
  Append(out, uint8_t{0});
  Append(out, block.tenant);
  Append(out, extent.layer);
  Append(out, uint16_t{0});
  Append(out, block.hash);
  Append(out, bytes);
  Append(out, checksum);
  static_assert(4 + 2 + 1 + 1 + 4 + 2 + 2 + sizeof(Digest) + 8 + 8 == kBytes);
  std::array<char, kBytes> header;
  std::copy(out.begin(), out.end(), header.begin());
  return header;
}

std::optional<ExtentHeader> ExtentHeader::Decode(std::string_view value) {
  if (value.size() < kBytes) return std::nullopt;
  Reader reader(value);
  if (reader.Take<uint32_t>() != kExtentMagic || reader.Take<uint16_t>() != kExtentVersion) return std::nullopt;
  ExtentHeader header;
  const uint8_t kind = reader.Take<uint8_t>();
  if (kind > static_cast<uint8_t>(Kind::kE)) return std::nullopt;
  header.extent.kind = static_cast<Kind>(kind);
  if (reader.Take<uint8_t>() != 0) return std::nullopt;
  header.block.tenant = reader.Take<uint32_t>();
  header.extent.layer = reader.Take<uint16_t>();
  if (reader.Take<uint16_t>() != 0) return std::nullopt;
  header.block.hash = reader.Take<Digest>();
  header.bytes = reader.Take<uint64_t>();
  header.checksum = reader.Take<uint64_t>();
  if (header.bytes != value.size() - kBytes) return std::nullopt;
  return header;
}

}  // namespace droidspeak

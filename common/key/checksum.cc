// SPDX-License-Identifier: Apache-2.0
#include "common/key/checksum.h"

#define XXH_STATIC_LINKING_ONLY  // for states on the stack
#include <xxh_x86dispatch.h>     // the widest vectors that this CPU has
#include <xxhash.h>

#include <algorithm>
#include <cstring>

namespace droidspeak {
namespace {

// What follows the chunk hashes: block hash ‖ u8 kind ‖ u16 layer ‖ u64 length, without padding.
void UpdateWithIdentity(XXH3_state_t& outer, const ExtentIdentity& identity, uint64_t length) {
  std::byte tail[sizeof(Digest) + 1 + 2 + 8];
  std::byte* at = tail;
  const auto put = [&at](const void* value, size_t bytes) {
    std::memcpy(at, value, bytes);
    at += bytes;
  };
  put(identity.block.bytes.data(), sizeof(Digest));
  put(&identity.kind, 1);
  put(&identity.layer, 2);
  put(&length, 8);
  XXH3_64bits_update(&outer, tail, sizeof(tail));
}

// Chunks that arrive whole are hashed at one go; `inner_` serves those that arrive in pieces.
class Stream {
 public:
  Stream() { Reset(); }

  void Update(absl::Span<const std::byte> bytes) {
    length_ += bytes.size();
    while (!bytes.empty()) {
      const size_t take = std::min(bytes.size(), kChecksumChunkBytes - chunk_bytes_);
      if (take == kChecksumChunkBytes) {
        EndChunk(ChunkHash(bytes.first(take)));
      } else {
        UpdateChunk(bytes.first(take));
      }
      bytes.remove_prefix(take);
    }
  }

  uint64_t Finish(const ExtentIdentity& identity) {
    if (chunk_bytes_ > 0) EndChunk(XXH3_64bits_digest(&inner_));
    UpdateWithIdentity(outer_, identity, length_);
    const uint64_t checksum = XXH3_64bits_digest(&outer_);
    Reset();
    return checksum;
  }

 private:
  void Reset() {
    XXH3_64bits_reset(&outer_);
    chunk_bytes_ = 0;
    length_ = 0;
  }

  void EndChunk(uint64_t hash) {
    XXH3_64bits_update(&outer_, &hash, sizeof(hash));
    chunk_bytes_ = 0;
  }

  // Adds bytes that stay within the current chunk.
  void UpdateChunk(absl::Span<const std::byte> bytes) {
    if (chunk_bytes_ == 0) XXH3_64bits_reset(&inner_);
    XXH3_64bits_update(&inner_, bytes.data(), bytes.size());
    chunk_bytes_ += bytes.size();
    if (chunk_bytes_ == kChecksumChunkBytes) EndChunk(XXH3_64bits_digest(&inner_));
  }

  XXH3_state_t outer_;
  XXH3_state_t inner_;
  size_t chunk_bytes_ = 0;  // of the current chunk, in `inner_`
  uint64_t length_ = 0;
};

}  // namespace

struct ChecksumStream::State : Stream {};

uint64_t ChunkHash(absl::Span<const std::byte> chunk) {
  return XXH3_64bits(chunk.data(), chunk.size());
}

uint64_t ExtentChecksum(const ExtentIdentity& identity, absl::Span<const uint64_t> chunk_hashes, uint64_t length) {
  XXH3_state_t outer;
  XXH3_64bits_reset(&outer);
  XXH3_64bits_update(&outer, chunk_hashes.data(), chunk_hashes.size() * sizeof(uint64_t));
  UpdateWithIdentity(outer, identity, length);
  return XXH3_64bits_digest(&outer);
}

uint64_t ExtentChecksum(const ExtentIdentity& identity, absl::Span<const std::byte> bytes) {
  return ExtentChecksum(identity, bytes, {});
}

uint64_t ExtentChecksum(const ExtentIdentity& identity, absl::Span<const std::byte> first,
                        absl::Span<const std::byte> second) {
  Stream stream;
  stream.Update(first);
  stream.Update(second);
  return stream.Finish(identity);
}

ChecksumStream::ChecksumStream() : state_(std::make_unique<State>()) {}
ChecksumStream::~ChecksumStream() = default;
ChecksumStream::ChecksumStream(ChecksumStream&&) noexcept = default;
ChecksumStream& ChecksumStream::operator=(ChecksumStream&&) noexcept = default;

void ChecksumStream::Update(absl::Span<const std::byte> bytes) {
  state_->Update(bytes);
}

uint64_t ChecksumStream::Finish(const ExtentIdentity& identity) {
  return state_->Finish(identity);
}

}  // namespace droidspeak

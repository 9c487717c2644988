// SPDX-License-Identifier: Apache-2.0
// The checksum of an extent: XXH3_64 over the hashes of its 16 KiB chunks and over its identity, so that *misdirected*
// bytes are found as well as changed ones. Readers compute it with the identity that they asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "common/key/digest.h"
#include "common/key/kind.h"

namespace droidspeak {

inline constexpr size_t kChecksumChunkBytes = 16 * 1024;

struct ExtentIdentity {
  Digest block;
  Kind kind = Kind::kKv;
  uint16_t layer = 0;
};

// XXH3_64 of one chunk: kChecksumChunkBytes of an extent, or its shorter last piece. Chunks may be hashed in any order
// and by several threads.
uint64_t ChunkHash(absl::Span<const std::byte> chunk);

// The checksum from the hashes of all chunks, in order, and the extent's length in bytes.
uint64_t ExtentChecksum(const ExtentIdentity& identity, absl::Span<const uint64_t> chunk_hashes, uint64_t length);

// The checksum of an extent that lies in one piece, or in two that follow each other (K and V in separate places; their
// border need not be a chunk's).
uint64_t ExtentChecksum(const ExtentIdentity& identity, absl::Span<const std::byte> bytes);
uint64_t ExtentChecksum(const ExtentIdentity& identity, absl::Span<const std::byte> first,
                        absl::Span<const std::byte> second);

// The same, as bytes arrive in order in pieces of any size; nothing is copied. Not thread-safe. After Finish() it is
// ready for the next extent.
class ChecksumStream {
 public:
  ChecksumStream();
  ~ChecksumStream();
  ChecksumStream(ChecksumStream&&) noexcept;
  ChecksumStream& operator=(ChecksumStream&&) noexcept;

  void Update(absl::Span<const std::byte> bytes);
  uint64_t Finish(const ExtentIdentity& identity);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace droidspeak

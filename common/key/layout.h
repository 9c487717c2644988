// SPDX-License-Identifier: Apache-2.0
// The layout: one canonical ASCII string that says what the bytes of a namespace's extents mean, e.g.
//   v1;layers=32;kv_heads=8;head_dim=128;hidden=4096;block_tokens=256;kv=bf16;e=bf16;key=pre-rope
// K and V are [kv_heads, block_tokens, head_dim] row-major, K before its rotary embedding; E is [block_tokens, hidden].
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/key/kind.h"

namespace droidspeak {

enum class Dtype : uint8_t { kFp32, kBf16, kFloat32 = kFp32, kBfloat16 = kBf16 };
constexpr uint64_t DtypeBytes(Dtype dtype) {
  return dtype == Dtype::kFp32 ? 4 : 2;
}
std::string_view DtypeName(Dtype dtype);  // "fp32" or "bf16"
[[nodiscard]] absl::StatusOr<Dtype> ParseDtype(std::string_view name);

// Models whose rotary embedding depends on the total length (longrope, dynamic) have one namespace a regime.
enum class Regime : uint8_t { kNone, kShort, kLong };

// A plain value. Sizes are those of one block and one layer, in bytes.
struct Layout {
  static constexpr uint32_t kMaxLayers = 256;
  static constexpr uint32_t kMaxHeads = 1024;
  static constexpr uint32_t kMaxHeadDim = 1024;
  static constexpr uint32_t kMaxHidden = 1 << 17;
  static constexpr uint32_t kMaxBlockTokens = 4096;
  static constexpr uint64_t kMaxExtentBytes = 256 << 20;

  uint32_t layers = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t hidden = 0;
  uint32_t block_tokens = 0;
  Dtype kv = Dtype::kBf16;
  Dtype e = Dtype::kBf16;
  Regime regime = Regime::kNone;

  // Reads the canonical form and nothing else: unknown, missing or misplaced fields and values out of range are
  // INVALID_ARGUMENT, naming the field and what was expected.
  [[nodiscard]] static absl::StatusOr<Layout> Parse(std::string_view text);
  // The canonical form. Of a layout that Validate() accepts, Parse() reads the same again.
  std::string ToString() const;
  // OK, or INVALID_ARGUMENT naming the field out of range. For layouts made by hand.
  [[nodiscard]] absl::Status Validate() const;

  uint64_t k_bytes() const { return uint64_t{kv_heads} * block_tokens * head_dim * DtypeBytes(kv); }  // also V's
  uint64_t kv_bytes() const { return 2 * k_bytes(); }
  uint64_t e_bytes() const { return uint64_t{block_tokens} * hidden * DtypeBytes(e); }
  uint64_t extent_bytes(Kind kind) const { return kind == Kind::kKv ? kv_bytes() : e_bytes(); }

  friend bool operator==(const Layout&, const Layout&) = default;
};

}  // namespace droidspeak

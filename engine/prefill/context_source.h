// SPDX-License-Identifier: Apache-2.0
// Where a partial prefill's context comes from: another model's E and KV (and the receiver's own KV of a prefix).
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "engine/model/kv_slab.h"
#include "engine/model/rope.h"
#include "engine/prefill/plan.h"

namespace droidspeak {

// Where the arrival pass puts KV: row r of the context goes to slot first_slot + r, K rotated by the receiver's RoPE.
struct ContextTarget {
  KvSlab* slab = nullptr;
  const Rope* rope = nullptr;
  int64_t first_slot = 0;
};

// Bytes and extents a source moved, by kind and tier (gpu, host, rocksdb); nothing for sources in this process.
struct SourceStats {
  uint64_t kv_bytes = 0;
  uint64_t e_bytes = 0;
  std::array<uint64_t, 3> tier_extents{};
};

// One request's context. Rows [0, own_tokens()) are the receiver's own, exact in all layers; rows up to tokens() come
// from a sender as the plan says. A loss (missing, late, corrupt, server dead) shrinks tokens(); it never grows again,
// and what was handed out of rows below it stays right. Used by one thread.
class ContextSource {
 public:
  virtual ~ContextSource() = default;

  // Starts moving what `plan` needs of a prompt's context towards `target`. Called once, before the others.
  [[nodiscard]] virtual absl::Status Begin(const Plan& plan, const ContextTarget& target) = 0;

  [[nodiscard]] virtual int64_t tokens() const = 0;
  [[nodiscard]] virtual int64_t own_tokens() const = 0;

  // E entering `layer`, rows from `row` on: waits for at least one block, takes all that is there up to `max_rows`.
  // [rows, hidden], valid until the next call of E, Poll or EndRepair. An undefined tensor when `row` was lost:
  // tokens() <= row then.
  [[nodiscard]] virtual at::Tensor E(int64_t layer, int64_t row, int64_t max_rows) = 0;

  // Whether E would return, and PlaceAll, without waiting; what is in this process always does.
  [[nodiscard]] virtual bool EArrived(int64_t /*layer*/, int64_t /*row*/) { return true; }
  [[nodiscard]] virtual bool KvArrived() { return true; }

  // What follows does nothing in a source whose context is all there.

  // No E is asked for any more.
  virtual void EndRepair() {}

  // Places what has arrived, without waiting: called between steps of computing.
  virtual void Poll() {}

  // Waits until `layer` stands in the slab: own rows of a recomputed layer, all rows of a reused one. Only rows below
  // tokens() are written. A loss shows in tokens().
  virtual void Place(int64_t /*layer*/) {}

  // Waits until all that is outstanding is placed or lost: tokens() is final afterwards.
  virtual void PlaceAll() {}

  [[nodiscard]] virtual SourceStats stats() const { return {}; }
  // Why tokens() is less than was asked for; empty when it is not.
  [[nodiscard]] virtual std::string loss() const { return ""; }
};

}  // namespace droidspeak

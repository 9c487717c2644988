// SPDX-License-Identifier: Apache-2.0
// The keys and values that attention reads: for each layer K and V as [kv_heads, slots, head_dim], K after rotary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "engine/model/config.h"
#include "engine/model/dtype.h"
#include "engine/model/rope.h"

namespace droidspeak {

// A contiguous run of slots; the sequence that holds it keeps the token at position p in slot first + p.
struct SlotRun {
  int64_t first = 0;
  int64_t count = 0;
};

// Owns one mapping (huge pages where the kernel has them), reserved at once and backed when first written, so that it
// can be registered with a transport later. Thread safety: Allocate, Release and the counters are safe from any thread;
// the bytes of a run are its holder's to order (a row is written before it is read).
class KvSlab {
 public:
  // Fails if the bytes needed exceed `max_bytes` or cannot be mapped.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<KvSlab>> Create(const ModelConfig& config, Dtype dtype,
                                                                      int64_t slots, int64_t max_bytes);
  ~KvSlab();
  KvSlab(const KvSlab&) = delete;
  KvSlab& operator=(const KvSlab&) = delete;

  // First fit; RESOURCE_EXHAUSTED when no run of `count` slots is free.
  [[nodiscard]] absl::StatusOr<SlotRun> Allocate(int64_t count);
  // Any part of what was allocated.
  void Release(SlotRun run);
  // Extends `run` to `count` slots where those behind it are free; otherwise false, and nothing has changed.
  [[nodiscard]] bool Extend(SlotRun& run, int64_t count);
  // Whether a run of `count` slots could be had, or `run` be extended to them, if `others` were released.
  [[nodiscard]] bool CouldAllocate(int64_t count, const std::vector<SlotRun>& others) const;
  [[nodiscard]] bool CouldExtend(SlotRun run, int64_t count, const std::vector<SlotRun>& others) const;

  [[nodiscard]] Dtype dtype() const { return dtype_; }
  [[nodiscard]] int64_t layers() const { return layers_; }
  [[nodiscard]] int64_t kv_heads() const { return kv_heads_; }
  [[nodiscard]] int64_t head_dim() const { return head_dim_; }
  [[nodiscard]] int64_t slots() const { return slots_; }
  [[nodiscard]] int64_t used_slots() const;
  [[nodiscard]] int64_t bytes() const { return bytes_; }

  // [kv_heads, slots, head_dim] views of the slab's memory, valid as long as it.
  [[nodiscard]] at::Tensor K(int64_t layer) const;
  [[nodiscard]] at::Tensor V(int64_t layer) const;

  // Address of (layer, head, slot); consecutive slots follow each other, head_dim() elements each.
  [[nodiscard]] std::byte* KAddress(int64_t layer, int64_t head, int64_t slot) const;
  [[nodiscard]] std::byte* VAddress(int64_t layer, int64_t head, int64_t slot) const;

  // Copies the rows of `count` slots, of all layers, to slots that are none of them. On libtorch's threads.
  void Copy(int64_t from, int64_t to, int64_t count);

  // The placing half of an arrival pass: `extent` is K (pre-RoPE), then V, each [kv_heads, extent_tokens, head_dim]
  // packed in dtype(). Its first `tokens` rows go to slots slot..., K rotated by `rope` at positions position.... Runs
  // on the calling thread only; different (layer, slot) ranges may be placed at the same time.
  void PlaceExtent(const Rope& rope, int64_t layer, int64_t slot, int64_t position, const std::byte* extent,
                   int64_t extent_tokens, int64_t tokens);

 private:
  KvSlab(const ModelConfig& config, Dtype dtype, int64_t slots, int64_t bytes, std::byte* memory);

  // First slot -> count of what would be free, neighbours merged.
  [[nodiscard]] std::map<int64_t, int64_t> FreeWith(const std::vector<SlotRun>& others) const;

  const Dtype dtype_;
  const int64_t layers_, kv_heads_, head_dim_, slots_, bytes_;
  std::byte* const memory_;
  mutable absl::Mutex mutex_;
  std::map<int64_t, int64_t> free_ ABSL_GUARDED_BY(mutex_);  // first slot -> count, neighbours merged
};

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// Taking a model's own tensors out of a forward, layer by layer, as they are computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/forward.h"
#include "engine/prefill/extent_unit.h"

namespace droidspeak {

// Receives exact tensors of one sequence. Not thread-safe.
class CaptureSink {
 public:
  virtual ~CaptureSink() = default;
  // `kv` holds rows [row, row + rows) of the sequence, in its layer, valid during the call.
  virtual absl::Status OnLayer(const LayerKv& kv, int64_t row) = 0;
};

// Gives a forward's tensors to a sink, which may be null; the batch's first row is `row` of its sequence.
class CaptureHooks : public ForwardHooks {
 public:
  CaptureHooks(CaptureSink* sink, int64_t row) : sink_(sink), row_(row) {}
  absl::Status OnKv(const LayerKv& kv) override {
    return sink_ == nullptr ? absl::OkStatus() : sink_->OnLayer(kv, row_);
  }

 private:
  CaptureSink* const sink_;
  const int64_t row_;
};

// Copies what `unit` has of rows [row, row + rows of kv) that fall into the block whose first row is `block_row`, to
// `memory` (one unit).
void CopyIntoUnit(const ExtentUnit& unit, std::byte* memory, int64_t block_row, const LayerKv& kv, int64_t row);

// The tensors of one context in this process's memory: what a sender leaves to a receiver without a server. One unit
// of `tokens` rows, so that contexts may end anywhere. Written through OnLayer, then only read (by any thread).
class ContextCache : public CaptureSink {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ContextCache>> Create(const ExtentUnit& unit);

  absl::Status OnLayer(const LayerKv& kv, int64_t row) override;

  [[nodiscard]] const ExtentUnit& unit() const { return unit_; }
  [[nodiscard]] int64_t tokens() const { return unit_.block_tokens(); }
  // The extent, or null when the unit has none of that layer.
  [[nodiscard]] std::byte* kv(int64_t layer) const;
  [[nodiscard]] std::byte* e(int64_t layer) const;

 private:
  ContextCache(const ExtentUnit& unit, std::unique_ptr<std::byte[]> memory) : unit_(unit), memory_(std::move(memory)) {}

  const ExtentUnit unit_;
  const std::unique_ptr<std::byte[]> memory_;
};

// Runs `model` (the sender) over `tokens`, the beginning of a sequence of that reach (rope_config.h), and keeps KV of
// `kv_layers` and E of `e_layers`.
[[nodiscard]] absl::StatusOr<std::unique_ptr<ContextCache>> CaptureContext(const Model& model,
                                                                           absl::Span<const int32_t> tokens,
                                                                           int64_t reach,
                                                                           const std::vector<int64_t>& kv_layers,
                                                                           const std::vector<int64_t>& e_layers);

}  // namespace droidspeak

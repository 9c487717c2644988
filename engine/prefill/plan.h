// SPDX-License-Identifier: Apache-2.0
// Plans: which runs of layers a partial prefill recomputes for the context; all other layers are reused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak {

// Layers [begin, end).
struct LayerRun {
  int64_t begin = 0;
  int64_t end = 0;

  friend bool operator==(const LayerRun&, const LayerRun&) = default;
};

// A plan for a model of layers() layers. A run that starts at layer 0 starts from the receiver's own embeddings; any
// other starts from the sender's E entering its first layer. A plain value.
class Plan {
 public:
  // The paper's triple "a,b,c", 0 <= a <= b <= c <= layers: [0,a) recomputed, [a,b) reused, [b,c) recomputed,
  // [c,layers) reused. INVALID_ARGUMENT names the text and what is wrong with it.
  [[nodiscard]] static absl::StatusOr<Plan> ParseTriple(std::string_view text, int64_t layers);
  // "4-8,12-13": runs [4,8) and [12,13), ascending, not overlapping. Touching runs stay separate: each starts from an E
  // of its own.
  [[nodiscard]] static absl::StatusOr<Plan> ParseRuns(std::string_view text, int64_t layers);
  // Everything is recomputed: "full".
  [[nodiscard]] static Plan Full(int64_t layers);
  // Nothing is: `text` is how results call it.
  [[nodiscard]] static Plan ReuseAll(int64_t layers, std::string text);

  // As typed; what results repeat.
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] int64_t layers() const { return layers_; }
  [[nodiscard]] const std::vector<LayerRun>& runs() const { return runs_; }

  // The plan reuses nothing: it is full prefill, and goes that way.
  [[nodiscard]] bool is_full() const { return recomputed_layers() == layers_ && runs_.size() <= 1; }
  [[nodiscard]] int64_t recomputed_layers() const;
  [[nodiscard]] bool recomputes(int64_t layer) const;
  // Layers [0, a) whose context tensors are the receiver's own and exact: those of the run from layer 0.
  [[nodiscard]] int64_t exact_layers() const;

  // What a source has to provide: layers whose E starts a run, and layers whose KV is reused, both ascending.
  [[nodiscard]] std::vector<int64_t> e_layers() const;
  [[nodiscard]] std::vector<int64_t> kv_layers() const;

 private:
  Plan(std::string text, int64_t layers, std::vector<LayerRun> runs);

  std::string text_;
  int64_t layers_;
  std::vector<LayerRun> runs_;  // ascending, each non-empty
};

}  // namespace droidspeak

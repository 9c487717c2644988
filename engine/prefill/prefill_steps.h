// SPDX-License-Identifier: Apache-2.0
// A partial prefill in steps of bounded size, so that an engine can answer others between them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/prefill/partial_prefill.h"

namespace droidspeak {

// One prefill under way. Copies the request; what that points to outlives it. Used by one thread at a time.
class PrefillSteps {
 public:
  // `request.source`, if there is one, has begun with the request's plan. Times are counted from `began`. Errors as of
  // PartialPrefill.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<PrefillSteps>> Start(const Model& model, KvSlab& slab,
                                                                           const PrefillRequest& request,
                                                                           absl::Time began);
  ~PrefillSteps();

  // Runs one forward, of at most `rows` rows or one block of E; repair takes smaller ones, to begin as soon as a part
  // of E has arrived. True when the prefill is complete.
  [[nodiscard]] absl::StatusOr<bool> Step(int64_t rows);

  // Whether the next step would wait for the context to arrive.
  [[nodiscard]] bool WouldWait();

  // Of a complete prefill.
  [[nodiscard]] PrefillResult TakeResult();

 private:
  PrefillSteps(const Model& model, KvSlab& slab, const PrefillRequest& request, absl::Time began);

  [[nodiscard]] int64_t length() const { return static_cast<int64_t>(request_.tokens.size()); }
  [[nodiscard]] int64_t first_wanted() const {
    return request_.first_wanted < 0 ? length() - 1 : request_.first_wanted;
  }
  // Leading rows that the suffix doesn't compute.
  [[nodiscard]] int64_t context_rows() const;
  [[nodiscard]] std::vector<Row> Rows(int64_t begin, int64_t end) const;

  [[nodiscard]] absl::Status Check() const;
  // The run that has rows left to repair; null when none has, and then the suffix begins.
  [[nodiscard]] const LayerRun* NextRepair();
  [[nodiscard]] absl::StatusOr<int64_t> Repair(const LayerRun& run, int64_t rows);  // returns the next row
  [[nodiscard]] absl::Status RepairStep(const LayerRun& run, int64_t rows);
  [[nodiscard]] absl::StatusOr<bool> SuffixStep(int64_t rows);
  void BeginSuffix();

  const Model& model_;
  KvSlab& slab_;
  const PrefillRequest request_;
  const std::unique_ptr<ContextSource> nothing_;  // stands in for a source
  ContextSource& source_;
  const std::shared_ptr<const Rope> rope_;
  const absl::Time began_;

  size_t run_ = 0;          // of the plan: which is being repaired
  int64_t repair_row_ = 0;  // its next row
  bool in_suffix_ = false;
  int64_t context_ = 0;  // rows before the suffix, which are lost when the source has fewer
  int64_t suffix_row_ = 0;
  std::vector<at::Tensor> logits_;
  absl::Duration context_time_;
};

}  // namespace droidspeak

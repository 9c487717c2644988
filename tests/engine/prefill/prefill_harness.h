// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of partial prefill, in process and through servers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "engine/prefill/in_process_source.h"
#include "engine/prefill/partial_prefill.h"
#include "tests/engine/prefill/tiny_models.h"

namespace droidspeak {

// A slab with one sequence's slots.
struct TestSequence {
  explicit TestSequence(const Model& model, int64_t slots);
  std::unique_ptr<KvSlab> slab;
  SlotRun run;
};

// Every distinct triple, and some plans of several runs.
std::vector<Plan> AllPlans(int64_t layers);

// F32 logits of all positions by one forward over all rows.
at::Tensor FullLogits(const Model& model, const std::vector<int32_t>& tokens);

// KV and E of all layers of the first `count` tokens.
std::unique_ptr<ContextCache> CaptureAll(const Model& model, const std::vector<int32_t>& tokens, int64_t count);

// Runs the receiver over the first `count` tokens, so that their own rows stand in the slab.
void ComputeOwnPrefix(const Model& model, TestSequence& sequence, const std::vector<int32_t>& tokens, int64_t count);

// Fails the test unless OK.
PrefillResult MustPrefill(const Model& model, TestSequence& sequence, const PrefillRequest& request);

double MaxDifference(const at::Tensor& a, const at::Tensor& b);

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// LoRA adapters in PEFT's files: adapter_config.json and adapter_model.safetensors, to be merged into weights or
// applied beside them (runtime_adapter.h).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "engine/model/config.h"

namespace droidspeak {

// What it adds to a weight [out, in]: scale b a, in fp32. Undefined: nothing.
struct LoraFactors {
  at::Tensor a;  // [rank, in]
  at::Tensor b;  // [out, rank]
  double scale = 1.0;
};

// A checked adapter. Immutable after Load. Kinds that a merge of B A cannot express (DoRA, modules_to_save, biases,
// other target modules) are refused by name.
class LoraAdapter {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LoraAdapter>> Load(const std::string& dir,
                                                                         const ModelConfig& config);
  // Of the projection `module` ("model.layers.3.self_attn.q_proj"); undefined if the adapter leaves it alone.
  [[nodiscard]] LoraFactors Factors(const std::string& module) const;
  // Their product, to be merged: [out, in].
  [[nodiscard]] at::Tensor Delta(const std::string& module) const;

  // For the adapter's digest: "peft_type=LORA\n", then "MODULE.scale=NUMBER\n" for each adapted module in name order.
  // That and the tensors are all of an adapter that changes numerics.
  [[nodiscard]] std::string CanonicalLines() const;

 private:
  std::map<std::string, LoraFactors> factors_;  // by module path
};

}  // namespace droidspeak

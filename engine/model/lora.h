// SPDX-License-Identifier: Apache-2.0
// LoRA adapters in PEFT's files: adapter_config.json and adapter_model.safetensors, merged into weights at load.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "engine/model/config.h"

namespace droidspeak {

// A checked adapter. Immutable after Load. Kinds that a merge of B A cannot express (DoRA, modules_to_save, biases,
// other target modules) are refused by name.
class LoraAdapter {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LoraAdapter>> Load(const std::string& dir,
                                                                         const ModelConfig& config);
  // What to add to the weight of `module` ("model.layers.3.self_attn.q_proj"): scale B A in fp32, [out, in]; undefined
  // if the adapter leaves it alone.
  [[nodiscard]] at::Tensor Delta(const std::string& module) const;

  // For the adapter's digest: "peft_type=LORA\n", then "MODULE.scale=NUMBER\n" for each adapted module in name order.
  // That and the tensors are all of an adapter that changes numerics.
  [[nodiscard]] std::string CanonicalLines() const;

 private:
  struct Pair {
    at::Tensor a, b;  // fp32, [rank, in] and [out, rank]
    double scale = 1.0;
  };
  std::map<std::string, Pair> pairs_;  // by module path
};

}  // namespace droidspeak

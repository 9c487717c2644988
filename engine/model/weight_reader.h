// SPDX-License-Identifier: Apache-2.0
// Stored tensors as fp32 tensors of the shape that the model expects.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "engine/model/safetensors.h"

namespace droidspeak {

// A view of `name` in the mapping in its stored dtype (F32, BF16 or F16), checked against `shape`; `source` names the
// checkpoint in messages. Valid as long as `checkpoint`.
[[nodiscard]] absl::StatusOr<at::Tensor> ViewWeight(const Checkpoint& checkpoint, const std::string& source,
                                                    const std::string& name, const std::vector<int64_t>& shape);

// The same as an fp32 tensor of its own.
[[nodiscard]] absl::StatusOr<at::Tensor> ReadWeight(const Checkpoint& checkpoint, const std::string& source,
                                                    const std::string& name, const std::vector<int64_t>& shape);

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/ideal.h"

#include <algorithm>

#include "ATen/ops/randn.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/partial_prefill.h"

namespace droidspeak {

IdealSource::IdealSource(int64_t tokens, int64_t hidden, Dtype dtype)
    : tokens_(tokens), noise_(at::randn({std::min(tokens, kRepairStepTokens), hidden}).to(ScalarType(dtype))) {}

at::Tensor IdealSource::E(int64_t /*layer*/, int64_t row, int64_t max_rows) {
  return noise_.narrow(0, 0, std::min({tokens_ - row, max_rows, noise_.size(0)}));
}

}  // namespace droidspeak

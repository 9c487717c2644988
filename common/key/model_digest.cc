// SPDX-License-Identifier: Apache-2.0
#include "common/key/model_digest.h"

namespace droidspeak {

Digest ModelDigest(const Digest& weights, const std::optional<Digest>& adapter) {
  return Sha256()
      .Update("droidspeak/model/v1")
      .UpdateLengthPrefixed(weights.view())
      .UpdateLengthPrefixed(adapter ? adapter->view() : std::string_view())
      .Finish();
}

Digest WeightsFromModelId(std::string_view model_id) {
  return Sha256().Update("droidspeak/model-id/v1").UpdateLengthPrefixed(model_id).Finish();
}

}  // namespace droidspeak

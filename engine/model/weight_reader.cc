// SPDX-License-Identifier: Apache-2.0
#include "engine/model/weight_reader.h"

#include <ATen/ops/from_blob.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"

namespace droidspeak {

absl::StatusOr<at::Tensor> ViewWeight(const Checkpoint& checkpoint, const std::string& source, const std::string& name,
                                      const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(const StoredTensor* stored, checkpoint.Find(name));
  at::ScalarType type;
  if (stored->dtype == "F32") {
    type = at::kFloat;
  } else if (stored->dtype == "BF16") {
    type = at::kBFloat16;
  } else if (stored->dtype == "F16") {
    type = at::kHalf;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": tensor '", name, "' has dtype ", stored->dtype, "; expected F32, BF16 or F16"));
  }
  if (stored->shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": tensor '", name, "' has shape [",
                                                   absl::StrJoin(stored->shape, ","), "]; expected [",
                                                   absl::StrJoin(shape, ","), "]"));
  }
  // from_blob takes a mutable address; nothing writes through the view.
  return at::from_blob(const_cast<std::byte*>(stored->bytes.data()), shape, type);
}

absl::StatusOr<at::Tensor> ReadWeight(const Checkpoint& checkpoint, const std::string& source, const std::string& name,
                                      const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(const at::Tensor view, ViewWeight(checkpoint, source, name, shape));
  return view.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace droidspeak

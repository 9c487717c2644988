// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/partial_prefill.h"

#include <algorithm>
#include <memory>

#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/prefill_steps.h"

namespace droidspeak {

absl::StatusOr<PrefillResult> PartialPrefill(const Model& model, KvSlab& slab, const PrefillRequest& request) {
  return WithoutExceptions("prefill", [&]() -> absl::StatusOr<PrefillResult> {
    const absl::Time began = absl::Now();
    // The source reads it as long as the prefill runs.
    const std::shared_ptr<const Rope> rope =
        model.RopeFor(std::max(request.reach, static_cast<int64_t>(request.tokens.size())));
    if (request.source != nullptr) {
      RETURN_IF_ERROR(request.source->Begin(request.plan, {&slab, rope.get(), request.run.first}));
    }
    ASSIGN_OR_RETURN(const std::unique_ptr<PrefillSteps> steps, PrefillSteps::Start(model, slab, request, began));
    for (bool done = false; !done;) {
      ASSIGN_OR_RETURN(done, steps->Step(kPrefillStepTokens));
    }
    return steps->TakeResult();
  });
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// The slab of a command that runs one sequence at a time.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "absl/status/statusor.h"
#include "common/base/status.h"
#include "engine/model/kv_slab.h"
#include "engine/model/model.h"

namespace droidspeak {

// A slab that one sequence has to itself. Its memory is reserved at once and backed when first written.
struct Sequence {
  std::unique_ptr<KvSlab> slab;
  SlotRun run;

  [[nodiscard]] static absl::StatusOr<Sequence> Create(const Model& model, int64_t slots) {
    Sequence sequence;
    ASSIGN_OR_RETURN(sequence.slab,
                     KvSlab::Create(model.config(), model.dtype(), slots, std::numeric_limits<int64_t>::max()));
    ASSIGN_OR_RETURN(sequence.run, sequence.slab->Allocate(slots));
    return sequence;
  }
};

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "engine/model/forward.h"

#include <utility>

#include "engine/model/forward_check.h"
#include "engine/model/forward_pass.h"
#include "engine/model/torch_types.h"

namespace droidspeak {

std::vector<int64_t> AllRows(absl::Span<const Row> rows) {
  std::vector<int64_t> wanted(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) wanted[i] = static_cast<int64_t>(i);
  return wanted;
}

std::vector<int64_t> LastRows(absl::Span<const Row> rows) {
  std::vector<int64_t> wanted;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i + 1 == rows.size() || rows[i + 1].sequence != rows[i].sequence) wanted.push_back(static_cast<int64_t>(i));
  }
  return wanted;
}

std::vector<Row> MakeRows(absl::Span<const int32_t> tokens, int64_t first_position, int64_t first_slot,
                          const Rope& rope, int32_t sequence, const RuntimeAdapter* adapter) {
  std::vector<Row> rows(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t position = first_position + static_cast<int64_t>(i);
    rows[i] = {.token = tokens[i],
               .position = static_cast<int32_t>(position),
               .sequence = sequence,
               .slot = first_slot + position,
               .rope = &rope,
               .adapter = adapter};
  }
  return rows;
}

absl::StatusOr<ForwardResult> Forward(const Model& model, KvSlab& slab, const ForwardInput& input) {
  if (absl::Status status = CheckForward(model, slab, input); !status.ok()) return status;
  return WithoutExceptions("running the model", [&] { return ForwardPass(model, slab, input).Run(); });
}

}  // namespace droidspeak

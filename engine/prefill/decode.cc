// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/decode.h"

#include <algorithm>

#include "common/base/status.h"
#include "engine/model/torch_types.h"

namespace droidspeak {

absl::Span<const float> LastRow(const at::Tensor& logits) {
  const int64_t vocab = logits.size(-1);
  return {logits.const_data_ptr<float>() + (logits.numel() - vocab), static_cast<size_t>(vocab)};
}

absl::StatusOr<std::vector<int32_t>> Decode(const Model& model, KvSlab& slab, Sampler& sampler,
                                            const DecodeRequest& request) {
  std::vector<int32_t> answer;
  int32_t token = request.first;
  int64_t position = request.position;
  ASSIGN_OR_RETURN(const std::shared_ptr<const Rope> rope,
                   WithoutExceptions("decoding", [&]() -> absl::StatusOr<std::shared_ptr<const Rope>> {
                     return model.RopeFor(std::max(request.reach, position));
                   }));
  while (static_cast<int64_t>(answer.size()) < request.max_tokens) {
    answer.push_back(token);
    if (request.on_token && !request.on_token(token)) break;
    const bool full = position >= std::min(request.run.count, model.config().max_positions);
    if (full || static_cast<int64_t>(answer.size()) == request.max_tokens) break;
    const std::vector<Row> rows = MakeRows(absl::MakeConstSpan(&token, 1), position, request.run.first, *rope);
    CaptureHooks hooks(request.capture, position);
    ForwardInput input;
    input.rows = rows;
    input.wanted = {0};
    input.hooks = &hooks;
    ASSIGN_OR_RETURN(const ForwardResult result, Forward(model, slab, input));
    token = sampler.Choose(LastRow(result.logits)).token;
    ++position;
  }
  return answer;
}

}  // namespace droidspeak

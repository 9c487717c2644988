// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/decode.h"

#include <algorithm>
#include <cmath>

#include "common/base/status.h"

namespace droidspeak {

// SplitMix64 (Steele et al. 2014): the same answers for the same seed on every machine.
double Sampler::Uniform() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

int32_t Sampler::Choose(const at::Tensor& logits) {
  const int64_t vocab = logits.size(-1);
  const float* row = logits.const_data_ptr<float>() + (logits.numel() - vocab);
  const float* best = std::max_element(row, row + vocab);
  if (temperature_ <= 0) return static_cast<int32_t>(best - row);
  std::vector<double> cumulative(vocab);
  double sum = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    sum += std::exp((static_cast<double>(row[i]) - *best) / temperature_);
    cumulative[i] = sum;
  }
  const auto chosen = std::upper_bound(cumulative.begin(), cumulative.end(), Uniform() * sum);
  return static_cast<int32_t>(std::min<int64_t>(chosen - cumulative.begin(), vocab - 1));
}

absl::StatusOr<std::vector<int32_t>> Decode(const Model& model, KvSlab& slab, Sampler& sampler,
                                            const DecodeRequest& request) {
  std::vector<int32_t> answer;
  int32_t token = request.first;
  int64_t position = request.position;
  const std::shared_ptr<const Rope> rope = model.RopeFor(std::max(request.reach, position));
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
    token = sampler.Choose(result.logits);
    ++position;
  }
  return answer;
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace droidspeak {
namespace {

constexpr int64_t kMostTopLogprobs = 20;  // as OpenAI's API
constexpr double kMostTemperature = 2.0;
constexpr double kMostPenalty = 2.0;
constexpr int64_t kFirstCandidates = 256;

absl::Status OutOfRange(absl::string_view field, double value, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; expected ", expected));
}

// Likelier first; of equals the lower id, so that the order is the same on every machine.
auto LikelierIn(absl::Span<const float> logits) {
  return [logits](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
}

// Brings the `count` likeliest of `order` to its beginning, in order.
void SortFirst(absl::Span<const float> logits, std::vector<int32_t>& order, int64_t count) {
  count = std::min(count, static_cast<int64_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + count, order.end(), LikelierIn(logits));
}

std::vector<int32_t> Ids(size_t count) {
  std::vector<int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

// log(sum(exp(logits)))
double LogSum(absl::Span<const float> logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - most);
  return most + std::log(sum);
}

}  // namespace

absl::Status SamplingOptions::Check() const {
  if (!(temperature >= 0 && temperature <= kMostTemperature)) {
    return OutOfRange("temperature", temperature, absl::StrCat("0 to ", kMostTemperature));
  }
  if (!(top_p > 0 && top_p <= 1)) return OutOfRange("top_p", top_p, "more than 0 and at most 1");
  if (top_k < 0) return OutOfRange("top_k", static_cast<double>(top_k), "0 (all) or more");
  if (!(std::abs(presence_penalty) <= kMostPenalty)) return OutOfRange("presence_penalty", presence_penalty, "-2 to 2");
  if (!(std::abs(frequency_penalty) <= kMostPenalty)) {
    return OutOfRange("frequency_penalty", frequency_penalty, "-2 to 2");
  }
  if (top_logprobs < -1 || top_logprobs > kMostTopLogprobs) {
    return OutOfRange("top_logprobs", static_cast<double>(top_logprobs), absl::StrCat("0 to ", kMostTopLogprobs));
  }
  return absl::OkStatus();
}

// SplitMix64 (Steele et al. 2014): the same draws for the same seed on every machine.
double Sampler::Uniform() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

void Sampler::Penalize(absl::Span<const float> logits) {
  penalized_.assign(logits.begin(), logits.end());
  for (const auto& [token, count] : counts_) {
    const double penalty = options_.presence_penalty + options_.frequency_penalty * static_cast<double>(count);
    penalized_[token] -= static_cast<float>(penalty);
  }
}

// Candidates are sorted only as far as the cuts ask: with a peaked distribution a few hundred of a large vocabulary.
int32_t Sampler::Draw(absl::Span<const float> logits) {
  const auto likeliest = std::max_element(logits.begin(), logits.end());
  if (options_.temperature == 0) return static_cast<int32_t>(likeliest - logits.begin());
  const auto weight = [&, most = static_cast<double>(*likeliest)](int32_t token) {
    return std::exp((static_cast<double>(logits[token]) - most) / options_.temperature);
  };
  order_ = Ids(logits.size());
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(order_.size())) {
    SortFirst(logits, order_, options_.top_k);
    order_.resize(options_.top_k);
  }
  double total = 0;
  for (const int32_t token : order_) total += weight(token);
  if (options_.top_p < 1) {
    size_t kept = 0;
    double sum = 0;
    for (int64_t sorted = 0; kept < order_.size() && sum < options_.top_p * total; ++kept) {
      if (static_cast<int64_t>(kept) == sorted) {
        sorted = std::max(kFirstCandidates, 4 * sorted);
        SortFirst(logits, order_, sorted);
      }
      sum += weight(order_[kept]);
    }
    order_.resize(kept);
    total = sum;
  }
  double left = Uniform() * total;
  for (const int32_t token : order_) {
    left -= weight(token);
    if (left < 0) return token;
  }
  return order_.back();  // what rounding left over
}

Choice Sampler::Choose(absl::Span<const float> logits) {
  const bool penalized = options_.presence_penalty != 0 || options_.frequency_penalty != 0;
  if (penalized) Penalize(logits);
  Choice choice{.token = Draw(penalized ? absl::MakeConstSpan(penalized_) : logits)};
  if (penalized) ++counts_[choice.token];
  if (options_.top_logprobs < 0) return choice;
  const double log_sum = LogSum(logits);
  const auto logprob = [&](int32_t token) { return static_cast<float>(logits[token] - log_sum); };
  choice.logprob = logprob(choice.token);
  std::vector<int32_t> order = Ids(logits.size());
  SortFirst(logits, order, options_.top_logprobs);
  for (int64_t i = 0; i < std::min(options_.top_logprobs, static_cast<int64_t>(order.size())); ++i) {
    choice.top_logprobs.push_back({order[i], logprob(order[i])});
  }
  return choice;
}

}  // namespace droidspeak

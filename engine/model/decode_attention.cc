// SPDX-License-Identifier: Apache-2.0
#include "engine/model/decode_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <vector>

#include "engine/model/attend_keys.h"
#include "engine/model/parallel.h"

namespace droidspeak {
namespace {

// Keys that one thread takes at a time.
constexpr int64_t kChunkKeys = 512;

// Some keys of a key head of a run, for the query heads that share it.
struct Chunk {
  const AttentionRun* run;
  int64_t head;  // of the keys
  int64_t slot;  // of the first key
  int64_t keys;
  bool begins;     // the first of the head's
  float* results;  // most, total, weighted of each query head: see AttendKeys
};

class SingleRows {
 public:
  SingleRows(const Rows& q, int64_t heads, const KvSlab& slab, int64_t layer, const Rows& out)
      : q_(q),
        slab_(slab),
        layer_(layer),
        out_(out),
        head_dim_(slab.head_dim()),
        group_(heads / slab.kv_heads()),
        results_size_(group_ * (head_dim_ + 2)) {}

  void Run(absl::Span<const AttentionRun> runs, int64_t window) {
    Cut(runs, window);
    const int64_t count = static_cast<int64_t>(chunks_.size());
    const int64_t bytes = keys_ * 2 * head_dim_ * DtypeBytes(slab_.dtype());
    const int64_t grain = std::max<int64_t>(1, kGrainBytes * count / bytes);
    ForEachUnit<std::vector<float>>(count, grain,
                                    [this](int64_t i, std::vector<float>& queries) { Compute(chunks_[i], queries); });
    ForEachUnit(count, grain, [this](int64_t i) {
      if (chunks_[i].begins) Join(i);
    });
  }

 private:
  void Cut(absl::Span<const AttentionRun> runs, int64_t window);
  void Compute(const Chunk& chunk, std::vector<float>& queries) const;
  // Joins the chunks of one head of one run, from `first` on, into the result.
  void Join(int64_t first) const;

  const Rows& q_;
  const KvSlab& slab_;
  const int64_t layer_;
  const Rows& out_;
  const int64_t head_dim_, group_, results_size_;
  int64_t keys_ = 0;
  std::vector<Chunk> chunks_;
  std::unique_ptr<float[]> results_;
};

void SingleRows::Cut(absl::Span<const AttentionRun> runs, int64_t window) {
  for (const AttentionRun& run : runs) {
    const int64_t first_key = window > 0 ? std::max<int64_t>(0, run.first_position - window + 1) : 0;
    for (int64_t head = 0; head < slab_.kv_heads(); ++head) {
      for (int64_t key = first_key; key <= run.first_position; key += kChunkKeys) {
        const int64_t keys = std::min(kChunkKeys, run.first_position + 1 - key);
        chunks_.push_back({.run = &run,
                           .head = head,
                           .slot = run.base_slot + key,
                           .keys = keys,
                           .begins = key == first_key,
                           .results = nullptr});
        keys_ += keys;
      }
    }
  }
  results_ = std::make_unique_for_overwrite<float[]>(chunks_.size() * results_size_);
  for (size_t i = 0; i < chunks_.size(); ++i) chunks_[i].results = results_.get() + i * results_size_;
}

void SingleRows::Compute(const Chunk& chunk, std::vector<float>& queries) const {
  queries.resize(group_ * head_dim_);
  const int64_t head_bytes = head_dim_ * DtypeBytes(slab_.dtype());
  const std::byte* const heads = q_[chunk.run->first_row] + chunk.head * group_ * head_bytes;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim_));
  for (int64_t query = 0; query < group_; ++query) {
    OrderQuery(slab_.dtype(), heads + query * head_bytes, scale, head_dim_, queries.data() + query * head_dim_);
  }
  AttendToKeys(slab_.dtype(), {.k = slab_.KAddress(layer_, chunk.head, chunk.slot),
                               .v = slab_.VAddress(layer_, chunk.head, chunk.slot),
                               .keys = chunk.keys,
                               .head_dim = head_dim_,
                               .q = queries.data(),
                               .queries = group_,
                               .most = chunk.results,
                               .total = chunk.results + group_,
                               .weighted = chunk.results + 2 * group_});
}

void SingleRows::Join(int64_t first) const {
  const Chunk& of = chunks_[first];
  const auto count = static_cast<int64_t>(chunks_.size());
  int64_t end = first + 1;
  while (end < count && !chunks_[end].begins) ++end;
  std::vector<float> sum(head_dim_);
  for (int64_t query = 0; query < group_; ++query) {
    float most = of.results[query];
    for (int64_t i = first; i < end; ++i) most = std::max(most, chunks_[i].results[query]);
    float total = 0;
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int64_t i = first; i < end; ++i) {
      const float* const results = chunks_[i].results;
      const float factor = std::exp(results[query] - most);
      total += factor * results[group_ + query];
      const float* const weighted = results + 2 * group_ + query * head_dim_;
      for (int64_t j = 0; j < head_dim_; ++j) sum[j] += factor * weighted[j];
    }
    const int64_t head_bytes = head_dim_ * DtypeBytes(slab_.dtype());
    LeaveHead(slab_.dtype(), sum.data(), 1.0f / total, head_dim_,
              out_[of.run->first_row] + (of.head * group_ + query) * head_bytes);
  }
}

}  // namespace

void AttendSingleRows(const Rows& q, int64_t heads, const KvSlab& slab, int64_t layer, int64_t window,
                      absl::Span<const AttentionRun> runs, const Rows& out) {
  if (!runs.empty()) SingleRows(q, heads, slab, layer, out).Run(runs, window);
}

}  // namespace droidspeak

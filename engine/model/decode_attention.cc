// SPDX-License-Identifier: Apache-2.0
#include "engine/model/decode_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "engine/model/attend_keys.h"

namespace droidspeak {
namespace {

// Keys that one thread takes at a time.
constexpr int64_t kChunkKeys = 512;
// So many bytes of keys and values one thread should at least read: less is not worth waking it.
constexpr int64_t kGrainBytes = 128 << 10;

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
  SingleRows(const at::Tensor& q, const KvSlab& slab, int64_t layer, at::Tensor& out)
      : q_(q),
        slab_(slab),
        layer_(layer),
        out_(out),
        head_dim_(slab.head_dim()),
        group_(q.size(1) / slab.kv_heads()),
        results_size_(group_ * (head_dim_ + 2)) {}

  void Run(absl::Span<const AttentionRun> runs, int64_t window) {
    Cut(runs, window);
    const int64_t count = static_cast<int64_t>(chunks_.size());
    const int64_t bytes = keys_ * 2 * head_dim_ * DtypeBytes(slab_.dtype());
    const int64_t grain = std::max<int64_t>(1, kGrainBytes * count / bytes);
    at::parallel_for(0, count, grain, [this](int64_t first, int64_t end) {
      std::vector<float> queries(group_ * head_dim_);
      for (int64_t i = first; i < end; ++i) Compute(chunks_[i], queries);
    });
    at::parallel_for(0, count, grain, [this](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        if (chunks_[i].begins) Join(i);
      }
    });
  }

 private:
  void Cut(absl::Span<const AttentionRun> runs, int64_t window);
  void Compute(const Chunk& chunk, std::vector<float>& queries) const;
  // Joins the chunks of one head of one run, from `first` on, into the result.
  void Join(int64_t first) const;

  const at::Tensor& q_;
  const KvSlab& slab_;
  const int64_t layer_;
  at::Tensor& out_;
  const int64_t head_dim_, group_, results_size_;
  int64_t keys_ = 0;
  std::vector<Chunk> chunks_;
  std::vector<float> results_;
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
  results_.resize(chunks_.size() * results_size_);
  for (size_t i = 0; i < chunks_.size(); ++i) chunks_[i].results = results_.data() + i * results_size_;
}

void SingleRows::Compute(const Chunk& chunk, std::vector<float>& queries) const {
  const auto* const rows = static_cast<const std::byte*>(q_.const_data_ptr());
  const int64_t element = chunk.run->first_row * q_.stride(0) + chunk.head * group_ * head_dim_;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim_));
  for (int64_t i = 0; i < group_ * head_dim_; i += head_dim_) {
    OrderQuery(slab_.dtype(), rows + (element + i) * DtypeBytes(slab_.dtype()), scale, head_dim_, queries.data() + i);
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
    auto* const out = static_cast<std::byte*>(out_.data_ptr());
    const int64_t element = of.run->first_row * out_.stride(0) + (of.head * group_ + query) * head_dim_;
    LeaveHead(slab_.dtype(), sum.data(), 1.0f / total, head_dim_, out + element * DtypeBytes(slab_.dtype()));
  }
}

}  // namespace

void AttendSingleRows(const at::Tensor& q, const KvSlab& slab, int64_t layer, int64_t window,
                      absl::Span<const AttentionRun> runs, at::Tensor& out) {
  if (!runs.empty()) SingleRows(q, slab, layer, out).Run(runs, window);
}

}  // namespace droidspeak

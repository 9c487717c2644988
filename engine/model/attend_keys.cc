// SPDX-License-Identifier: Apache-2.0
#include "engine/model/attend_keys.h"

#include <algorithm>
#include <limits>

#include "engine/model/vectors.h"

namespace droidspeak {
namespace {

// Keys whose scores are held at once: their keys and values stay in the first cache.
constexpr int64_t kTile = 64;
constexpr int64_t kLine = 64;  // bytes that memory gives at once
// Values that are loaded at once, as two vectors.
constexpr int64_t kPair = 2 * kLanes;

// Where of a run of kPair values the i-th is in the kernel's order: pairs of bf16 come apart by shifts, and so the even
// ones precede the odd.
constexpr int64_t Place(const float* /*type*/, int64_t i) {
  return i;
}
constexpr int64_t Place(const Bf16* /*type*/, int64_t i) {
  return i % 2 * kLanes + i / 2;
}

[[gnu::always_inline]] inline void LoadPair(const float* from, Floats& first, Floats& second) {
  first = reinterpret_cast<const Floats*>(from)[0];
  second = reinterpret_cast<const Floats*>(from)[1];
}
[[gnu::always_inline]] inline void LoadPair(const Bf16* from, Floats& first, Floats& second) {
  Split(*reinterpret_cast<const Words*>(from), first, second);
}

// body(index, index in the kernel's order) for each value of a head; what is left behind whole runs keeps its place.
template <typename T, typename Body>
[[gnu::always_inline]] inline void ForEachPlace(int64_t head_dim, const Body& body) {
  const int64_t whole = head_dim / kPair * kPair;
  for (int64_t run = 0; run < whole; run += kPair) {
    for (int64_t i = 0; i < kPair; ++i) body(run + i, run + Place(static_cast<const T*>(nullptr), i));
  }
  for (int64_t i = whole; i < head_dim; ++i) body(i, i);
}

// kQueries queries, from `first` on.
template <typename T, int kQueries>
class Tile {
 public:
  [[gnu::always_inline]] Tile(const AttendKeys& task, int64_t first)
      : task_(task), d_(task.head_dim), q_(task.q + first * d_), weighted_(task.weighted + first * d_) {
    std::fill(most_, most_ + kQueries, -std::numeric_limits<float>::infinity());
    std::fill(weighted_, weighted_ + kQueries * d_, 0.0f);
  }

  [[gnu::always_inline]] void Add(int64_t first_key, int64_t keys) {
    const auto* const k = static_cast<const T*>(task_.k) + first_key * d_;
    const auto* const v = static_cast<const T*>(task_.v) + first_key * d_;
    Score(k, v, keys);
    AskFor(k + kTile * d_, kTile);
    Exponents(keys);
    int64_t i = 0;
    for (; i + 2 * kPair <= d_; i += 2 * kPair) Weigh<2>(v, i, keys);
    for (; i + kPair <= d_; i += kPair) Weigh<1>(v, i, keys);
    WeighRest(v, i, keys);
  }

  [[gnu::always_inline]] void Leave(int64_t first) const {
    std::copy(most_, most_ + kQueries, task_.most + first);
    std::copy(total_, total_ + kQueries, task_.total + first);
  }

 private:
  // Memory is asked for what comes next while this is computed: values by the scores, the next keys by the weighing.
  // Beyond the last there may be anything.
  [[gnu::always_inline]] void AskFor(const T* from, int64_t rows) {
    for (int64_t i = 0; i < rows * d_; i += kLine / sizeof(T)) __builtin_prefetch(from + i);
  }

  [[gnu::always_inline]] void Score(const T* k, const T* v, int64_t keys) {
    int64_t key = 0;
    for (; key + 4 <= keys; key += 4) {
      AskFor(v + key * d_, 4);
      ScoreKeys<4>(k + key * d_, key);
    }
    for (; key < keys; ++key) ScoreKeys<1>(k + key * d_, key);
    for (int64_t i = d_ / kPair * kPair; i < d_; ++i) {
      for (int r = 0; r < kQueries; ++r) {
        for (key = 0; key < keys; ++key) scores_[r][key] += Get(k[key * d_ + i]) * q_[r * d_ + i];
      }
    }
  }

  // Of whole runs of values. Several keys at a time, so that a query's values are loaded once for them.
  template <int kKeys>
  [[gnu::always_inline]] void ScoreKeys(const T* k, int64_t key) {
    Floats sums[kQueries][kKeys] = {};
    for (int64_t i = 0; i + kPair <= d_; i += kPair) {
      Floats first[kKeys], second[kKeys];
      for (int j = 0; j < kKeys; ++j) LoadPair(k + j * d_ + i, first[j], second[j]);
      for (int r = 0; r < kQueries; ++r) {
        const auto* const q = reinterpret_cast<const Floats*>(q_ + r * d_ + i);
        for (int j = 0; j < kKeys; ++j) sums[r][j] += first[j] * q[0];
        for (int j = 0; j < kKeys; ++j) sums[r][j] += second[j] * q[1];
      }
    }
    for (int r = 0; r < kQueries; ++r) {
      Quarter parts[kKeys];
      for (int j = 0; j < kKeys; ++j) QuarterSum(sums[r][j], parts[j]);
      if constexpr (kKeys == 4) {
        const Quarter scores = Sums(parts[0], parts[1], parts[2], parts[3]);
        std::memcpy(&scores_[r][key], &scores, sizeof(scores));
      } else {
        for (int j = 0; j < kKeys; ++j) scores_[r][key + j] = Sum(parts[j]);
      }
    }
  }

  // Scores become e^(score - most); what was summed up before is brought to the same `most`.
  [[gnu::always_inline]] void Exponents(int64_t keys) {
    const int64_t whole = (keys + kLanes - 1) / kLanes * kLanes;
    for (int r = 0; r < kQueries; ++r) {
      float* const scores = scores_[r];
      std::fill(scores + keys, scores + whole, -std::numeric_limits<float>::infinity());  // next to 0 in the sum
      const auto* const vectors = reinterpret_cast<const Floats*>(scores);
      Floats mosts = vectors[0];
      for (int64_t i = 1; i < whole / kLanes; ++i) mosts = mosts > vectors[i] ? mosts : vectors[i];
      const float most = std::max(most_[r], Most(mosts));
      const float before = Exp(most_[r] - most);  // of minus infinity at first: next to 0, and times sums of 0
      for (int64_t key = 0; key < whole; ++key) scores[key] = Exp(scores[key] - most);
      Floats sums = vectors[0];
      for (int64_t i = 1; i < whole / kLanes; ++i) sums += vectors[i];
      Quarter sum;
      QuarterSum(sums, sum);
      total_[r] = total_[r] * before + Sum(sum);
      for (int64_t i = 0; i < d_; ++i) weighted_[r * d_ + i] *= before;
      most_[r] = most;
    }
  }

  // kPairs runs of values from `i` on, of all keys: sums that registers hold.
  template <int kPairs>
  [[gnu::always_inline]] void Weigh(const T* v, int64_t i, int64_t keys) {
    Floats sums[kQueries][2 * kPairs] = {};
    for (int64_t key = 0; key < keys; ++key) {
      for (int pair = 0; pair < kPairs; ++pair) {
        Floats first, second;
        LoadPair(v + key * d_ + i + pair * kPair, first, second);
        for (int r = 0; r < kQueries; ++r) {
          sums[r][2 * pair] += first * scores_[r][key];
          sums[r][2 * pair + 1] += second * scores_[r][key];
        }
      }
    }
    for (int r = 0; r < kQueries; ++r) {
      auto* const to = reinterpret_cast<Floats*>(weighted_ + r * d_ + i);
      for (int vector = 0; vector < 2 * kPairs; ++vector) to[vector] += sums[r][vector];
    }
  }

  [[gnu::always_inline]] void WeighRest(const T* v, int64_t i, int64_t keys) {
    for (; i < d_; ++i) {
      for (int r = 0; r < kQueries; ++r) {
        for (int64_t key = 0; key < keys; ++key) weighted_[r * d_ + i] += Get(v[key * d_ + i]) * scores_[r][key];
      }
    }
  }

  const AttendKeys& task_;
  const int64_t d_;
  const float* const q_;
  float* const weighted_;
  float most_[kQueries];
  float total_[kQueries] = {};
  alignas(Quarter) float scores_[kQueries][kTile];
};

template <typename T, int kQueries>
[[gnu::always_inline]] inline void AttendQueries(const AttendKeys& task, int64_t first) {
  Tile<T, kQueries> tile(task, first);
  for (int64_t key = 0; key < task.keys; key += kTile) tile.Add(key, std::min(kTile, task.keys - key));
  tile.Leave(first);
}

// Four at a time: what a key or value is loaded for, and what registers hold.
template <typename T>
[[gnu::always_inline]] inline void AttendAll(const AttendKeys& task) {
  int64_t first = 0;
  for (; first + 4 <= task.queries; first += 4) AttendQueries<T, 4>(task, first);
  switch (task.queries - first) {
    case 1:
      return AttendQueries<T, 1>(task, first);
    case 2:
      return AttendQueries<T, 2>(task, first);
    case 3:
      return AttendQueries<T, 3>(task, first);
  }
}

}  // namespace

DROIDSPEAK_VECTOR_CLONES void AttendToKeys(Dtype dtype, const AttendKeys& task) {
  DROIDSPEAK_BY_DTYPE(AttendAll<T>(task))
}

void OrderQuery(Dtype dtype, const void* head, float scale, int64_t head_dim, float* to) {
  DROIDSPEAK_BY_DTYPE(ForEachPlace<T>(
      head_dim, [&](int64_t i, int64_t place) { to[place] = Get(static_cast<const T*>(head)[i]) * scale; }))
}

void LeaveHead(Dtype dtype, const float* weighted, float scale, int64_t head_dim, void* to) {
  DROIDSPEAK_BY_DTYPE(ForEachPlace<T>(
      head_dim, [&](int64_t i, int64_t place) { Put(weighted[place] * scale, static_cast<T*>(to)[i]); }))
}

}  // namespace droidspeak

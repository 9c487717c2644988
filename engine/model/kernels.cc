// SPDX-License-Identifier: Apache-2.0
#include "engine/model/kernels.h"

#include <cmath>

#include "engine/model/vectors.h"

namespace droidspeak {
namespace {

template <typename T>
[[gnu::always_inline]] inline void Rotate(const T* from, T* to, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = Get(from[i]), b = Get(from[i + half]);
    Put(a * cos[i] - b * sin[i], to[i]);
    Put(b * cos[i] + a * sin[i], to[i + half]);
  }
}

// Sixteen running sums: enough for any vector width, and one fixed order of additions on every machine.
template <typename T>
[[gnu::always_inline]] inline float SumOfSquares(const T* from, int64_t count) {
  float sums[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int j = 0; j < 16; ++j) sums[j] += Get(from[i + j]) * Get(from[i + j]);
  }
  for (; i < count; ++i) sums[0] += Get(from[i]) * Get(from[i]);
  float sum = 0;
  for (const float part : sums) sum += part;
  return sum;
}

template <typename T>
[[gnu::always_inline]] inline void Norm(const T* from, const T* weight, T* to, int64_t count, float epsilon) {
  const float scale = 1.0f / std::sqrt(SumOfSquares(from, count) / static_cast<float>(count) + epsilon);
  for (int64_t i = 0; i < count; ++i) Put(Get(from[i]) * scale * Get(weight[i]), to[i]);
}

template <typename T>
[[gnu::always_inline]] inline void Add(const T* a, const T* b, T* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) Put(Get(a[i]) + Get(b[i]), to[i]);
}

template <typename T>
[[gnu::always_inline]] inline void SiluMul(const T* gate, const T* up, T* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float x = Get(gate[i]);
    Put(x / (1.0f + Exp(-x)) * Get(up[i]), to[i]);
  }
}

}  // namespace

DROIDSPEAK_VECTOR_CLONES void RotateRow(Dtype dtype, const void* from, void* to, const float* cos, const float* sin,
                                        int64_t half){
    DROIDSPEAK_BY_DTYPE(Rotate(static_cast<const T*>(from), static_cast<T*>(to), cos, sin, half))}

DROIDSPEAK_VECTOR_CLONES
    void NormRow(Dtype dtype, const void* from, const void* weight, void* to, int64_t count,
                 float epsilon){DROIDSPEAK_BY_DTYPE(Norm(static_cast<const T*>(from), static_cast<const T*>(weight),
                                                         static_cast<T*>(to), count, epsilon))}

DROIDSPEAK_VECTOR_CLONES void AddNormRow(Dtype dtype, const void* a, const void* b, const void* weight, void* sum,
                                         void* to, int64_t count, float epsilon){DROIDSPEAK_BY_DTYPE({
  Add(static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(sum), count);
  Norm(static_cast<const T*>(sum), static_cast<const T*>(weight), static_cast<T*>(to), count, epsilon);
})}

DROIDSPEAK_VECTOR_CLONES void AddRow(Dtype dtype, const void* a, const void* b, void* to, int64_t count){
    DROIDSPEAK_BY_DTYPE(Add(static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(to), count))}

DROIDSPEAK_VECTOR_CLONES void SiluMulRow(Dtype dtype, const void* gate, const void* up, void* to, int64_t count) {
  DROIDSPEAK_BY_DTYPE(SiluMul(static_cast<const T*>(gate), static_cast<const T*>(up), static_cast<T*>(to), count))
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "engine/model/kernels.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

// The loops are plain so that the compiler vectorises them; one clone a vector width is chosen at start. Sanitizers'
// run-time does not like the resolver that choosing needs.
#if defined(__x86_64__) && !defined(DROIDSPEAK_SANITIZED)
#define DROIDSPEAK_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DROIDSPEAK_VECTOR_CLONES
#endif

namespace droidspeak {
namespace {

struct Bf16 {
  uint16_t bits;
};

[[gnu::always_inline]] inline float Get(float value) {
  return value;
}
[[gnu::always_inline]] inline float Get(Bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

[[gnu::always_inline]] inline void Put(float value, float& to) {
  to = value;
}
// Round to nearest even; not-a-number stays so (a plain rounding could carry its mantissa away).
[[gnu::always_inline]] inline void Put(float value, Bf16& to) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  to.bits = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

// exp(x) for x in [-87, 88], relative error below 2e-7: 2^n by bits times a polynomial of the remainder. libm's expf
// does not vectorise.
[[gnu::always_inline]] inline float Exp(float x) {
  x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  // Adding and taking away 1.5 * 2^23 rounds to an integer.
  const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

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

// Vectors of the widest kind; narrower machines take them in parts.
using Floats = float __attribute__((vector_size(64), aligned(4), may_alias));
using Words = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(32), aligned(2), may_alias));
constexpr int64_t kLanes = 16;

[[gnu::always_inline]] inline void Widen(const Bf16* from, Floats& to) {
  const Words words = __builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16;
  std::memcpy(&to, &words, sizeof(to));
}

// sums[r] = w . (row r of x). Two running sums a row hide the latency of an addition.
template <int kRows>
[[gnu::always_inline]] inline void Dot(const Bf16* w, const float* x, int64_t in, float* sums) {
  Floats even[kRows] = {}, odd[kRows] = {};
  int64_t k = 0;
  for (; k + 2 * kLanes <= in; k += 2 * kLanes) {
    Floats first, second;
    Widen(w + k, first);
    Widen(w + k + kLanes, second);
    for (int r = 0; r < kRows; ++r) {
      even[r] += first * *reinterpret_cast<const Floats*>(x + r * in + k);
      odd[r] += second * *reinterpret_cast<const Floats*>(x + r * in + k + kLanes);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const Floats both = even[r] + odd[r];
    float sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += both[lane];
    for (int64_t i = k; i < in; ++i) sum += Get(w[i]) * x[r * in + i];
    sums[r] = sum;
  }
}

template <int kRows>
[[gnu::always_inline]] inline void DotAll(const DotRows& dot) {
  const auto* const weight = static_cast<const Bf16*>(dot.weight);
  const auto* const bias = static_cast<const Bf16*>(dot.bias);
  auto* const to = static_cast<Bf16*>(dot.to);
  for (int64_t i = 0; i < dot.out; ++i) {
    float sums[kRows];
    Dot<kRows>(weight + i * dot.in, dot.x, dot.in, sums);
    for (int r = 0; r < kRows; ++r) Put(sums[r] + (bias == nullptr ? 0.0f : Get(bias[i])), to[r * dot.to_stride + i]);
  }
}

}  // namespace

#define DROIDSPEAK_BY_DTYPE(call) \
  if (dtype == Dtype::kFloat32) { \
    using T = float;              \
    call;                         \
  } else {                        \
    using T = Bf16;               \
    call;                         \
  }

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

DROIDSPEAK_VECTOR_CLONES void DotRowsBf16(const DotRows& dot) {
  switch (dot.rows) {
    case 1:
      return DotAll<1>(dot);
    case 2:
      return DotAll<2>(dot);
    case 3:
      return DotAll<3>(dot);
    case 4:
      return DotAll<4>(dot);
  }
}

DROIDSPEAK_VECTOR_CLONES void SiluMulRow(Dtype dtype, const void* gate, const void* up, void* to, int64_t count) {
  DROIDSPEAK_BY_DTYPE(SiluMul(static_cast<const T*>(gate), static_cast<const T*>(up), static_cast<T*>(to), count))
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// What the kernels are written in: number formats, vectors, and the mark of a function that is compiled for several
// processors. For kernels' source files only.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

// The loops are plain so that the compiler vectorises them; one clone a vector width is chosen at start. Sanitizers'
// run-time does not like the resolver that choosing needs.
#if defined(__x86_64__) && !defined(DROIDSPEAK_SANITIZED)
#define DROIDSPEAK_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DROIDSPEAK_VECTOR_CLONES
#endif

namespace droidspeak {

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

// Vectors of the widest kind; narrower machines take them in parts.
using Floats = float __attribute__((vector_size(64), aligned(4), may_alias));
using Words = uint32_t __attribute__((vector_size(64), aligned(4), may_alias));
inline constexpr int64_t kLanes = 16;

// The values of 16 pairs of bf16: the first of each, and the second.
[[gnu::always_inline]] inline void Split(const Words& pairs, Floats& first, Floats& second) {
  const Words low = pairs << 16, high = pairs & 0xffff0000u;
  std::memcpy(&first, &low, sizeof(first));
  std::memcpy(&second, &high, sizeof(second));
}

using Quarter = float __attribute__((vector_size(16)));

using Half = float __attribute__((vector_size(32)));

// join(a, b, to) joins two vectors into one; of sixteen lanes four are left, as wide as long as possible.
template <typename Join>
[[gnu::always_inline]] inline void JoinQuarters(const Floats& values, Quarter& to, const Join& join) {
  Half halves[2], half;
  std::memcpy(halves, &values, sizeof(values));
  join(halves[0], halves[1], half);
  Quarter quarters[2];
  std::memcpy(quarters, &half, sizeof(half));
  join(quarters[0], quarters[1], to);
}

[[gnu::always_inline]] inline void QuarterSum(const Floats& values, Quarter& to) {
  JoinQuarters(
      values, to, [](const auto& a, const auto& b, auto& sum) __attribute__((always_inline)) { sum = a + b; });
}

[[gnu::always_inline]] inline float Most(const Floats& values) {
  Quarter most;
  JoinQuarters(
      values, most,
      [](const auto& a, const auto& b, auto& more) __attribute__((always_inline)) { more = a > b ? a : b; });
  const float first = most[0] > most[1] ? most[0] : most[1], second = most[2] > most[3] ? most[2] : most[3];
  return first > second ? first : second;
}

[[gnu::always_inline]] inline float Sum(const Quarter& values) {
  return (values[0] + values[2]) + (values[1] + values[3]);
}

// The sums of four, each added up as Sum does.
[[gnu::always_inline]] inline Quarter Sums(const Quarter& a, const Quarter& b, const Quarter& c, const Quarter& d) {
  const Quarter ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quarter cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

#define DROIDSPEAK_BY_DTYPE(call) \
  if (dtype == Dtype::kFloat32) { \
    using T = float;              \
    call;                         \
  } else {                        \
    using T = Bf16;               \
    call;                         \
  }

}  // namespace droidspeak

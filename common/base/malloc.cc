// SPDX-License-Identifier: Apache-2.0
#include "common/base/malloc.h"

#include <malloc.h>

namespace droidspeak {
namespace {

constexpr int kMmapBytes = 32 << 20;
constexpr int kTrimBytes = 32 << 20;
// Each keeps up to kTrimBytes: not one a thread.
constexpr int kArenas = 2;

}  // namespace

void KeepFreedBuffers() {
  mallopt(M_MMAP_THRESHOLD, kMmapBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimBytes);
  mallopt(M_ARENA_MAX, kArenas);
}

void KeepAllFreedBuffers() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  // Arenas beyond the first are made of pieces of 64 MiB, which go back to the kernel whatever the threshold says.
  mallopt(M_ARENA_MAX, 1);
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "engine/model/kv_slab.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/files.h"
#include "engine/model/torch_types.h"

namespace droidspeak {

absl::StatusOr<std::unique_ptr<KvSlab>> KvSlab::Create(const ModelConfig& config, Dtype dtype, int64_t slots,
                                                       int64_t max_bytes) {
  int64_t bytes = 2 * config.layers * config.kv_heads * config.head_dim * DtypeBytes(dtype);
  if (slots < 1 || __builtin_mul_overflow(bytes, slots, &bytes) || bytes > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a KV slab of ", slots, " tokens; expected 1 or more tokens in at most ", FormatBytes(max_bytes)));
  }
  // Reserved, not backed: what is never written costs nothing.
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat("mapping a KV slab of ", FormatBytes(bytes)));
  ::madvise(memory, bytes, MADV_HUGEPAGE);  // a wish; some kernels have none
  return std::unique_ptr<KvSlab>(new KvSlab(config, dtype, slots, bytes, static_cast<std::byte*>(memory)));
}

KvSlab::KvSlab(const ModelConfig& config, Dtype dtype, int64_t slots, int64_t bytes, std::byte* memory)
    : dtype_(dtype),
      layers_(config.layers),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      slots_(slots),
      bytes_(bytes),
      memory_(memory) {
  free_[0] = slots;
}

KvSlab::~KvSlab() {
  ::munmap(memory_, bytes_);
}

absl::StatusOr<SlotRun> KvSlab::Allocate(int64_t count) {
  if (count < 1) return absl::InvalidArgumentError(absl::StrCat("a run of ", count, " slots; expected 1 or more"));
  absl::MutexLock lock(&mutex_);
  for (const auto& [first, free] : free_) {
    if (free < count) continue;
    const SlotRun run{.first = first, .count = count};
    const int64_t left = free - count;
    free_.erase(run.first);
    if (left > 0) free_[run.first + count] = left;
    return run;
  }
  return absl::ResourceExhaustedError(absl::StrCat("no run of ", count, " free slots in a KV slab of ", slots_));
}

void KvSlab::Release(SlotRun run) {
  absl::MutexLock lock(&mutex_);
  auto after = free_.lower_bound(run.first);
  DROIDSPEAK_CHECK(after == free_.end() || run.first + run.count <= after->first);
  if (after != free_.end() && after->first == run.first + run.count) {
    run.count += after->second;
    after = free_.erase(after);
  }
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    DROIDSPEAK_CHECK(before->first + before->second <= run.first);
    if (before->first + before->second == run.first) {
      before->second += run.count;
      return;
    }
  }
  free_[run.first] = run.count;
}

bool KvSlab::Extend(SlotRun& run, int64_t count) {
  absl::MutexLock lock(&mutex_);
  const int64_t end = run.first + run.count, more = count - run.count;
  if (more <= 0) return true;
  const auto behind = free_.find(end);
  if (behind == free_.end() || behind->second < more) return false;
  const int64_t left = behind->second - more;
  free_.erase(behind);
  if (left > 0) free_[end + more] = left;
  run.count = count;
  return true;
}

std::map<int64_t, int64_t> KvSlab::FreeWith(const std::vector<SlotRun>& others) const {
  std::map<int64_t, int64_t> free;
  {
    absl::MutexLock lock(&mutex_);
    free = free_;
  }
  for (const SlotRun& run : others) free[run.first] = run.count;
  for (auto at = free.begin(); at != free.end();) {
    const auto next = std::next(at);
    if (next != free.end() && at->first + at->second == next->first) {
      at->second += next->second;
      free.erase(next);
    } else {
      at = next;
    }
  }
  return free;
}

bool KvSlab::CouldAllocate(int64_t count, const std::vector<SlotRun>& others) const {
  const std::map<int64_t, int64_t> free = FreeWith(others);
  return std::any_of(free.begin(), free.end(), [count](const auto& run) { return run.second >= count; });
}

bool KvSlab::CouldExtend(SlotRun run, int64_t count, const std::vector<SlotRun>& others) const {
  const std::map<int64_t, int64_t> free = FreeWith(others);
  const auto behind = free.find(run.first + run.count);
  return behind != free.end() && run.count + behind->second >= count;
}

void KvSlab::Copy(int64_t from, int64_t to, int64_t count) {
  const int64_t bytes = count * head_dim_ * DtypeBytes(dtype_);
  // K and V of a layer lie behind each other, as heads do.
  at::parallel_for(0, 2 * layers_ * kv_heads_, 1, [&](int64_t first, int64_t end) {
    for (int64_t part = first; part < end; ++part) {
      std::memcpy(KAddress(0, part, to), KAddress(0, part, from), bytes);
    }
  });
}

int64_t KvSlab::used_slots() const {
  absl::MutexLock lock(&mutex_);
  int64_t used = slots_;
  for (const auto& [first, count] : free_) used -= count;
  return used;
}

std::byte* KvSlab::KAddress(int64_t layer, int64_t head, int64_t slot) const {
  return memory_ + ((2 * layer * kv_heads_ + head) * slots_ + slot) * head_dim_ * DtypeBytes(dtype_);
}

std::byte* KvSlab::VAddress(int64_t layer, int64_t head, int64_t slot) const {
  return KAddress(layer, kv_heads_ + head, slot);
}

at::Tensor KvSlab::K(int64_t layer) const {
  return at::from_blob(KAddress(layer, 0, 0), {kv_heads_, slots_, head_dim_}, ScalarType(dtype_));
}

at::Tensor KvSlab::V(int64_t layer) const {
  return at::from_blob(VAddress(layer, 0, 0), {kv_heads_, slots_, head_dim_}, ScalarType(dtype_));
}

void KvSlab::PlaceExtent(const Rope& rope, int64_t layer, int64_t slot, int64_t position, const std::byte* extent,
                         int64_t extent_tokens, int64_t tokens) {
  const int64_t row_bytes = head_dim_ * DtypeBytes(dtype_), head_bytes = extent_tokens * row_bytes;
  const std::byte* values = extent + kv_heads_ * head_bytes;
  for (int64_t head = 0; head < kv_heads_; ++head) {
    rope.Rotate(dtype_, extent + head * head_bytes, head_dim_, KAddress(layer, head, slot), head_dim_, tokens,
                position);
    std::memcpy(VAddress(layer, head, slot), values + head * head_bytes, tokens * row_bytes);
  }
}

}  // namespace droidspeak

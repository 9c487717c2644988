// SPDX-License-Identifier: Apache-2.0
#include "common/memory/host_arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/files.h"
#include "common/base/text.h"

namespace droidspeak {
namespace {

// One madvise call populates a range under one lock; several threads need ranges of their own.
constexpr uint64_t kPopulateBytes = 64 << 20;

constexpr uint64_t RoundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Bytes in free reserved huge pages, and the size of one; zero when there are none.
struct HugePages {
  uint64_t page_bytes = 0;
  uint64_t free_bytes = 0;
};

HugePages FreeHugePages() {
  std::ifstream meminfo("/proc/meminfo");
  HugePages pages;
  uint64_t free_pages = 0;
  std::string field;
  while (meminfo >> field) {
    if (field == "HugePages_Free:") meminfo >> free_pages;
    if (field == "Hugepagesize:" && meminfo >> pages.page_bytes) pages.page_bytes *= 1024;
  }
  pages.free_bytes = free_pages * pages.page_bytes;
  return pages;
}

// Faults all pages in. Returns 0 or an errno (ENOMEM or EFAULT when there is not enough memory).
int Populate(std::byte* base, uint64_t bytes) {
  const uint64_t pieces = (bytes + kPopulateBytes - 1) / kPopulateBytes;
  const uint64_t threads = std::min<uint64_t>(pieces, std::max(1U, std::thread::hardware_concurrency()));
  std::atomic<uint64_t> next = 0;
  std::atomic<int> error = 0;
  const auto work = [&] {
    for (uint64_t i = next++; i < pieces && error == 0; i = next++) {
      const uint64_t start = i * kPopulateBytes;
      const uint64_t length = std::min(kPopulateBytes, bytes - start);
      while (madvise(base + start, length, MADV_POPULATE_WRITE) != 0) {
        if (errno == EINTR || errno == EAGAIN) continue;
        error = errno;
        return;
      }
    }
  };
  std::vector<std::jthread> helpers;
  for (uint64_t i = 1; i < threads; ++i) helpers.emplace_back(work);
  work();
  helpers.clear();
  return error;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostArena>> HostArena::Create(std::string_view name, uint64_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("a host arena has at least one byte");
  const std::string what = absl::StrCat(ToAbsl(name), ": ", FormatBytes(bytes), " of host memory");
  const HugePages huge = FreeHugePages();
  const bool use_huge = huge.page_bytes > 0 && RoundUp(bytes, huge.page_bytes) <= huge.free_bytes;
  const uint64_t page_bytes = use_huge ? huge.page_bytes : static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  bytes = RoundUp(bytes, page_bytes);

  const int fd =
      memfd_create(std::string(name).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | (use_huge ? MFD_HUGETLB : 0U));
  if (fd < 0) return ErrnoStatus(errno, what);
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) return ErrnoStatus(errno, what);
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return ErrnoStatus(errno, what);

  void* mapping = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) return ErrnoStatus(errno, what);
  auto* base = static_cast<std::byte*>(mapping);
  absl::Cleanup unmap = [base, bytes] { munmap(base, bytes); };
  if (!use_huge) madvise(base, bytes, MADV_HUGEPAGE);  // a hint: refused where the kernel has none for shared memory
  if (const int error = Populate(base, bytes); error != 0) {
    return absl::ResourceExhaustedError(absl::StrCat(what, " is not there: error ", error, " while populating it"));
  }
  std::move(unmap).Cancel();
  std::move(close_fd).Cancel();
  return std::unique_ptr<HostArena>(new HostArena(base, bytes, fd, page_bytes));
}

HostArena::~HostArena() {
  munmap(base_, bytes_);
  close(fd_);
}

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "common/memory/host_arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

TEST(HostArena, IsRoundedUpToPagesZeroedAndWritable) {
  const auto arena = HostArena::Create("test", 10000).value();
  EXPECT_EQ(arena->bytes() % arena->page_bytes(), 0);
  EXPECT_GE(arena->bytes(), 10000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(arena->base()) % 4096, 0);
  EXPECT_EQ(arena->base()[9999], std::byte{0});
  arena->base()[9999] = std::byte{7};
  EXPECT_EQ(arena->span()[9999], std::byte{7});
}

TEST(HostArena, EveryPageIsPresentFromTheStart) {
  const auto arena = HostArena::Create("test", 200 << 20).value();
  const size_t pages = arena->bytes() / 4096;
  std::vector<unsigned char> present(pages);
  ASSERT_EQ(mincore(arena->base(), arena->bytes(), present.data()), 0);
  size_t missing = 0;
  for (const unsigned char page : present) missing += (page & 1) == 0 ? 1 : 0;
  EXPECT_EQ(missing, 0);
}

TEST(HostArena, ItsFdMapsTheSameMemory) {
  const auto arena = HostArena::Create("test", 8192).value();
  void* other = mmap(nullptr, arena->bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, arena->fd(), 0);
  ASSERT_NE(other, MAP_FAILED);
  static_cast<char*>(other)[5000] = 'x';
  EXPECT_EQ(arena->base()[5000], std::byte{'x'});
  munmap(other, arena->bytes());
}

TEST(HostArena, ItsFdCannotBeResizedOrUnsealed) {
  const auto arena = HostArena::Create("test", 8192).value();
  EXPECT_EQ(ftruncate(arena->fd(), 4096), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(arena->fd(), 1 << 20), -1);
  EXPECT_EQ(fcntl(arena->fd(), F_ADD_SEALS, F_SEAL_WRITE), -1);
  const int seals = fcntl(arena->fd(), F_GET_SEALS);
  EXPECT_TRUE((seals & F_SEAL_SHRINK) != 0 && (seals & F_SEAL_SEAL) != 0);
}

TEST(HostArena, ImpossibleSizesAreRefusedNamingTheArena) {
  EXPECT_FALSE(HostArena::Create("test", 0).ok());
  const auto arena = HostArena::Create("pool", uint64_t{1} << 60);
  ASSERT_FALSE(arena.ok());
  EXPECT_THAT(arena.status().message(), HasSubstr("pool"));
}

}  // namespace
}  // namespace droidspeak

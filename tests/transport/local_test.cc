// SPDX-License-Identifier: Apache-2.0
// What the `local` transport alone promises: who may connect, and which memory it maps.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

INSTANTIATE_TEST_SUITE_P(, TransportTest, testing::Values("local"), [](const auto& info) { return info.param; });

// Announces a memfd of `memfd_bytes` as a region of `region_bytes` and returns why the server closed, or OK.
class LocalRegionTest : public TransportTest {
 protected:
  absl::Status Announce(const char* kind, uint64_t memfd_bytes, uint64_t region_bytes, int seals) {
    const int fd = ::memfd_create(kind, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(memfd_bytes)), 0);
    EXPECT_EQ(::fcntl(fd, F_ADD_SEALS, seals), 0);
    ConnectBoth();
    EXPECT_TRUE(connection_->AnnounceRegion(1, {client_arena_->base(), region_bytes, fd}).ok());
    EXPECT_TRUE(connection_->Send(BytesOf("announced")).ok());
    EXPECT_TRUE(RunUntil([&] { return server_.closed || !server_.messages.empty(); }));
    ::close(fd);
    return server_.closed.value_or(absl::OkStatus());
  }
};

INSTANTIATE_TEST_SUITE_P(, LocalRegionTest, testing::Values("local"), [](const auto& info) { return info.param; });

TEST_P(LocalRegionTest, MemorySealedAgainstShrinkingIsMapped) {
  EXPECT_TRUE(Announce("sealed", 1 << 20, 1 << 20, F_SEAL_SHRINK).ok());
  EXPECT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, (1 << 20) - 1, 1}, 1).ok());
  EXPECT_TRUE(RunUntil([&] { return server_.done.size() == 1; }));
}

TEST_P(LocalRegionTest, MemoryThatCouldShrinkIsRefused) {
  EXPECT_EQ(Announce("unsealed", 1 << 20, 1 << 20, 0).code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(LocalRegionTest, ARegionBeyondItsMemoryIsRefused) {
  const absl::Status status = Announce("small", 4096, 8192, F_SEAL_SHRINK);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.ToString(), testing::HasSubstr("8192"));
}

TEST_P(LocalRegionTest, AHugeRegionWithoutPagesMakesNone) {
  // Address space is mapped, memory is not made: a peer can't exhaust the server's.
#ifdef __SANITIZE_THREAD__
  constexpr uint64_t kBytes = uint64_t{1} << 36;  // what the sanitizer's map of the address space has room for
#else
  constexpr uint64_t kBytes = uint64_t{1} << 40;
#endif
  EXPECT_TRUE(Announce("sparse", kBytes, kBytes, F_SEAL_SHRINK).ok());
}

TEST_P(TransportTest, ARegionWithoutMemfdIsRefused) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  EXPECT_EQ(connection_->AnnounceRegion(1, {client_arena_->base(), 4096, -1}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(TransportTest, TheSocketFileIsTheUsersAndGoesWithTheWorker) {
  struct stat info;
  ASSERT_EQ(::stat(address_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  server_worker_.reset();
  EXPECT_NE(::stat(address_.c_str(), &info), 0);
  client_worker_.reset();
}

TEST_P(TransportTest, ASocketFileLeftBehindIsReplaced) {
  const std::string path = address_ + ".stale";
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(left, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  ::close(left);
  const auto bound = client_worker_->Listen(path, nullptr);
  EXPECT_TRUE(bound.ok()) << bound.status();
}

TEST_P(TransportTest, SomethingElseAtThePathIsLeftAlone) {
  const std::string path = address_ + ".file";
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY, 0600);
  ASSERT_GE(fd, 0);
  ::close(fd);
  EXPECT_EQ(client_worker_->Listen(path, nullptr).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(::unlink(path.c_str()), 0);
}

// A raw socket in place of a client: garbage ends the connection, never the server.
TEST_P(TransportTest, GarbageFromAPeerEndsItsConnection) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, address_.data(), address_.size());
  for (const std::string& garbage :
       {std::string(100, '\xff'), std::string("\1\0\0\0\0\0\0\0", 8), std::string("\2\0\0\0\1\0\0\0x", 9),
        std::string("\1\0\0\0\0\0\0\x10", 8), std::string("\3\0\0\0\4\0\0\0\0\0\0\0", 12)}) {
    server_ = Recorder();
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    ASSERT_EQ(::send(fd, garbage.data(), garbage.size(), 0), static_cast<ssize_t>(garbage.size()));
    ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); }));
    EXPECT_EQ(server_.closed->code(), absl::StatusCode::kInvalidArgument) << *server_.closed;
    ::close(fd);
    accepted_.clear();
  }
}

}  // namespace
}  // namespace droidspeak

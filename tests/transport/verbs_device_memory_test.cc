// SPDX-License-Identifier: Apache-2.0
// Memory of another device, as a GPU's, over verbs. Needs an RDMA device (tests/rdma/run.sh), and not that it reaches
// other devices: where the program asks libibverbs for that, it is a memfd that stands for the other device's memory.
#include <gtest/gtest.h>
#include <infiniband/verbs.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

bool reaches_devices = true;
int flushes = 0;

}  // namespace
}  // namespace droidspeak

// In the place of libibverbs' own.
ibv_mr* ibv_reg_dmabuf_mr(ibv_pd* domain, uint64_t offset, size_t length, uint64_t iova, int fd, int access) {
  if (!droidspeak::reaches_devices) {
    errno = EOPNOTSUPP;
    return nullptr;
  }
  void* const memory = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (memory == MAP_FAILED) return nullptr;
  return ibv_reg_mr_iova2(domain, memory, length, iova, static_cast<unsigned>(access));
}

namespace droidspeak {
namespace {

INSTANTIATE_TEST_SUITE_P(, TransportTest, TRANSPORTS, [](const auto& info) { return info.param; });

// The last half of an arena, as the memory of a device: at an address where this process has nothing.
constexpr uint64_t kDeviceAddress = uint64_t{0x123} << 32;
MemoryRegion HalfAsDevice(const HostArena& arena) {
  const uint64_t half = arena.bytes() / 2;
  return {.base = reinterpret_cast<std::byte*>(kDeviceAddress),  // NOLINT(performance-no-int-to-ptr)
          .bytes = half,
          .device = DeviceMemory{.dma_buf = arena.fd(), .offset = half, .flush = [] { ++flushes; }}};
}

TEST_P(TransportTest, PushesAndPullsReachADevicesMemory) {
  reaches_devices = true;
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  const MemoryRegion clients = HalfAsDevice(*client_arena_);
  const MemoryRegion servers = HalfAsDevice(*server_arena_);
  ASSERT_TRUE(connection_->AnnounceRegion(7, clients).ok());
  ASSERT_TRUE(server_worker_->Register(servers).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("announced")).ok());
  ASSERT_TRUE(RunUntil([&] { return !server_.messages.empty(); }));
  int flushes_at_message = 0;
  client_.on_message = [&](Connection&, const std::string&) { flushes_at_message = flushes; };
  for (const size_t bytes : {size_t{1}, size_t{64}, size_t{4097}, size_t{3} << 20}) {
    SCOPED_TRACE(bytes);
    const std::string data = Pattern(bytes, bytes);
    std::byte* const at_server = server_arena_->base() + servers.bytes;
    std::byte* const at_client = client_arena_->base() + clients.bytes;
    std::memcpy(at_server + 100, data.data(), bytes);
    std::memset(at_client, 0xee, clients.bytes);
    client_.messages.clear();
    server_.done.clear();
    flushes = 0;
    ASSERT_TRUE(accepted_[0]->Push(servers.base + 100, {7, 200, bytes}, 1).ok());
    ASSERT_TRUE(accepted_[0]->Send(BytesOf("pushed")).ok());
    ASSERT_TRUE(RunUntil([&] { return client_.messages.size() == 1 && server_.done.size() == 1; }));
    EXPECT_EQ(flushes_at_message, 1);
    EXPECT_EQ(flushes, 1);
    EXPECT_EQ(std::memcmp(at_client + 200, data.data(), bytes), 0);
    EXPECT_EQ(at_client[199], std::byte{0xee});
    EXPECT_EQ(at_client[200 + bytes], std::byte{0xee});
    std::memset(at_server, 0xdd, servers.bytes);
    ASSERT_TRUE(accepted_[0]->Pull(servers.base + 300, {7, 200, bytes}, 2).ok());
    int flushes_at_done = 0;
    server_.on_done = [&](Connection&, uint64_t) { flushes_at_done = flushes; };
    ASSERT_TRUE(RunUntil([&] { return server_.done.size() == 2; }));
    EXPECT_EQ(flushes_at_done, 2);
    server_.on_done = nullptr;
    EXPECT_EQ(std::memcmp(at_server + 300, data.data(), bytes), 0);
    EXPECT_EQ(at_server[299], std::byte{0xdd});
  }
}

TEST_P(TransportTest, ADeviceThatDoesNotReachOthersSaysSo) {
  reaches_devices = false;
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  const absl::Status refused = connection_->AnnounceRegion(7, HalfAsDevice(*client_arena_));
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented) << refused;
  EXPECT_NE(refused.message().find("dma-buf"), std::string_view::npos) << refused;
  EXPECT_EQ(server_worker_->Register(HalfAsDevice(*server_arena_)).code(), absl::StatusCode::kUnimplemented);
  // The connection goes on with host memory.
  ASSERT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 4096}, 1).ok());
  EXPECT_TRUE(RunUntil([&] { return server_.done.size() == 1; }));
}

}  // namespace
}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// Requests that can't end because their reader does not read: over transports whose transfers need both ends.
#include <gmock/gmock.h>

#include <thread>

#include "cacheserver/service/tuning.h"
#include "tests/cacheserver/service/service_fixture.h"

namespace droidspeak {
namespace {

constexpr size_t kBlocks = 400;
const std::vector<Extent> kExtents = {{Kind::kKv, 0}, {Kind::kKv, 1}, {Kind::kKv, 2}};  // 38 MiB in all

class BackpressureTest : public ServiceTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ASSERT_NO_FATAL_FAILURE(ConnectClient(40 << 20));
    blocks_ = Chain(kBlocks);
    Store(*client_, blocks_, kExtents);
  }

  // Sends a fetch of everything and waits, without reading, until the server has posted what it may.
  void StartFetch(uint64_t id, uint32_t priority, uint32_t remaining_ms) {
    wire::FetchRequest request = MakeFetch(id, blocks_, kExtents);
    request.priority = priority;
    request.remaining_ms = remaining_ms;
    client_->Send(request);
    const absl::Time deadline = absl::Now() + kLimit;
    while (Inflight() == 0) ASSERT_LT(absl::Now(), deadline);
  }
  double Inflight() { return Metric("droidspeak_inflight_bytes"); }
  // Reads until the end of request `id`; its code. Counts the blocks that arrived.
  uint32_t ReadToEnd(uint64_t id, size_t& arrived) {
    while (true) {
      const std::optional<wire::Message> message = client_->Next();
      if (!message.has_value()) return ~0u;
      if (const auto* run = std::get_if<wire::LayerDone>(&*message)) arrived += run->checksums.size();
      const auto* done = std::get_if<wire::FetchDone>(&*message);
      if (done != nullptr && done->request_id == id) return done->code;
    }
  }

  std::vector<Digest> blocks_;
};

TEST_P(BackpressureTest, BytesInFlightAreBounded) {
  StartFetch(1000, 0, 60'000);
  const absl::Time until = absl::Now() + absl::Milliseconds(200);
  while (absl::Now() < until) EXPECT_LE(Inflight(), tuning::kRequestWindowBytes + tuning::kTurnBytes);
  size_t arrived = 0;
  EXPECT_EQ(ReadToEnd(1000, arrived), 0u);
  EXPECT_EQ(arrived, kBlocks * kExtents.size());
}

TEST_P(BackpressureTest, AFetchWhoseTimeIsOverEndsWithWhatHasArrived) {
  // The server has gone idle before: it looks at deadlines rarely then, but not while a request is under way.
  const absl::Time idle = absl::Now() + 2 * tuning::kBusyTick;
  while (absl::Now() < idle) Inflight();
  StartFetch(1000, 0, 50);
  const absl::Time until = absl::Now() + absl::Milliseconds(100);
  while (absl::Now() < until) Inflight();
  size_t arrived = 0;
  EXPECT_EQ(ReadToEnd(1000, arrived), static_cast<uint32_t>(absl::StatusCode::kDeadlineExceeded));
  EXPECT_GT(arrived, 0u);
  EXPECT_LT(arrived, kBlocks * kExtents.size());
}

TEST_P(BackpressureTest, AFirstTokensFetchOvertakesAPrefetch) {
  StartFetch(1000, 1, 60'000);
  wire::FetchRequest small = MakeFetch(1001, {blocks_[0]}, {{Kind::kKv, 2}});
  client_->Send(small);
  size_t arrived = 0;
  EXPECT_EQ(ReadToEnd(1001, arrived), 0u);
  EXPECT_LT(arrived, kBlocks * kExtents.size());
  EXPECT_EQ(ReadToEnd(1000, arrived), 0u);
  EXPECT_EQ(arrived, kBlocks * kExtents.size() + 1);
}

TEST_P(BackpressureTest, RequestsUnderWayEndBeforeTheServerDoes) {
  StartFetch(1000, 0, 60'000);
  std::thread stopping([this] { EXPECT_TRUE(server_->Stop(kLimit).ok()); });
  // New sessions are refused from some moment on; the fetch goes on.
  const absl::Time deadline = absl::Now() + kLimit;
  while (OpenRawSession(server_->addresses().listen, GetParam()).ok() && absl::Now() < deadline) {
  }
  size_t arrived = 0;
  EXPECT_EQ(ReadToEnd(1000, arrived), 0u);
  EXPECT_EQ(arrived, kBlocks * kExtents.size());
  EXPECT_TRUE(client_->DriveUntilClosed());
  stopping.join();
}

TEST_P(BackpressureTest, AReaderThatDoesNotReadDoesNotKeepTheServer) {
  StartFetch(1000, 0, 60'000);
  EXPECT_TRUE(server_->Stop(absl::Milliseconds(100)).ok());
  EXPECT_TRUE(client_->DriveUntilClosed());
}

INSTANTIATE_TEST_SUITE_P(Transports, BackpressureTest, testing::Values("tcp", "ucx"), TransportName);

}  // namespace
}  // namespace droidspeak

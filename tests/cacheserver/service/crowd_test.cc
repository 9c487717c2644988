// SPDX-License-Identifier: Apache-2.0
// As many sessions and requests as a server takes, at once: all are served, nobody is starved, memory stays bounded.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "common/transport/hello.h"
#include "tests/cacheserver/service/service_fixture.h"
#include "tests/support/count.h"

namespace droidspeak {
namespace {

constexpr uint32_t kRegion = 1;

// Resident memory of this process, in bytes.
uint64_t ResidentBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoull(line.substr(6)) << 10;
  }
  return 0;
}

// One session with its connection; all of them share a worker and a region. Counts how its requests end.
class Member : public ConnectionEvents {
 public:
  Member(Worker& worker, const RawSession& session, const HostArena& arena)
      : arena_(arena), handshake_(session.id, 1, KeyOf(session)) {
    connection_ = worker.Connect(session.data_address, this).value();
    EXPECT_TRUE(connection_->Send(handshake_.Start()).ok());
  }
  void Send(const wire::Message& message) { EXPECT_TRUE(connection_->Send(wire::Encode(message)).ok()); }
  // From now on each request that ends is followed by another like this; nothing: by none.
  void SendFurther(std::optional<wire::FetchRequest> request) { further_ = std::move(request); }
  void SendAnother() {
    further_->request_id = ++last_request_;
    ++outstanding_;
    Send(*further_);
  }
  int outstanding() const { return outstanding_; }
  bool greeted() const { return handshake_.done(); }
  int done() const { return done_; }
  int refused() const { return refused_; }
  bool closed() const { return closed_; }

 private:
  static SessionKey KeyOf(const RawSession& session) {
    SessionKey key{};
    std::memcpy(key.data(), session.key.data(), key.size());
    return key;
  }
  void OnMessage(Connection& connection, absl::Span<const std::byte> bytes) override {
    if (!handshake_.done()) {
      const absl::StatusOr<std::vector<std::byte>> reply = handshake_.Next(bytes);
      ASSERT_TRUE(reply.ok()) << reply.status();
      const bool sent = reply->empty() || connection.Send(*reply).ok();
      EXPECT_TRUE(sent);
      if (handshake_.done()) {
        ASSERT_TRUE(connection.AnnounceRegion(kRegion, {arena_.base(), arena_.bytes(), arena_.fd()}).ok());
      }
      return;
    }
    const absl::StatusOr<wire::Message> message = wire::Decode(bytes);
    ASSERT_TRUE(message.ok()) << message.status();
    if (const auto* ended = std::get_if<wire::FetchDone>(&*message)) {
      EXPECT_EQ(ended->code, 0u) << ended->text;
      ++done_;
      --outstanding_;
      if (further_.has_value()) SendAnother();
    }
    refused_ += std::holds_alternative<wire::StatusAnswer>(*message) ? 1 : 0;
  }
  void OnTransferDone(Connection&, uint64_t, const absl::Status&) override {}
  void OnClosed(Connection&, const absl::Status&) override { closed_ = true; }

  const HostArena& arena_;
  ClientHandshake handshake_;
  std::unique_ptr<Connection> connection_;
  std::optional<wire::FetchRequest> further_;
  uint64_t last_request_ = 0;
  int outstanding_ = 0;
  int done_ = 0;
  int refused_ = 0;
  bool closed_ = false;
};

// One thread has all of these clients; with a sanitizer on a busy machine it would be too slow for them to take what
// they asked for in time.
#ifdef DROIDSPEAK_SANITIZED
constexpr uint32_t kMostSessions = 256;
#else
constexpr uint32_t kMostSessions = 1024;
#endif

class CrowdTest : public ServiceTest {
 protected:
  void SetUp() override {
    rlimit files{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
    options_.lease = absl::Minutes(5);
    options_.max_sessions = kMostSessions;
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ConnectClient();
    blocks_ = Chain(16);
    Store(*client_, blocks_, {{Kind::kKv, 0}});
    arena_ = HostArena::Create("crowd", 1 << 20).value();
    worker_ = FindTransport(GetParam()).value()->CreateWorker().value();
  }
  void TearDown() override { members_.clear(); }

  void Join(size_t sessions) {
    const std::string& listen = server_->addresses().listen;
    for (size_t i = 0; i < sessions; ++i) {
      const absl::StatusOr<RawSession> session = OpenRawSession(listen, GetParam());
      ASSERT_TRUE(session.ok()) << session.status();
      const absl::StatusOr<RawNamespace> space = OpenRawNamespace(listen, *session, kSmallLayout);
      ASSERT_TRUE(space.ok()) << space.status();
      ASSERT_EQ(space->id, space_.id);
      members_.push_back(std::make_unique<Member>(*worker_, *session, *arena_));
      // Strangers are limited in number.
      ASSERT_TRUE(DriveUntil([&] { return members_.back()->greeted(); }));
    }
  }
  bool DriveUntil(const std::function<bool()>& condition) {
    return droidspeak::DriveUntil(*worker_, condition, 2 * kLimit);
  }
  size_t Done() const {
    size_t done = 0;
    for (const auto& member : members_) done += member->done();
    return done;
  }

  std::vector<Digest> blocks_;
  std::unique_ptr<HostArena> arena_;
  std::unique_ptr<Worker> worker_;
  std::vector<std::unique_ptr<Member>> members_;
};

TEST_P(CrowdTest, AThousandSessionsWithTenThousandRequestsAreServedFairly) {
  constexpr int kSessions = kMostSessions - 1;  // and the fixture's own
  constexpr int kRequests = 10;                 // of each at any time
  const int each = Count(40, 400);
  Join(kSessions);
  const absl::StatusOr<RawSession> beyond = OpenRawSession(server_->addresses().listen, GetParam());
  EXPECT_TRUE(absl::IsResourceExhausted(beyond.status())) << beyond.status();
  const std::vector<Digest> blocks(blocks_.begin(), blocks_.begin() + 2);
  for (const auto& member : members_) member->SendFurther(MakeFetch(0, blocks, {{Kind::kKv, 0}}));
  const uint64_t before = ResidentBytes();
  for (int request = 0; request < kRequests; ++request) {
    for (const auto& member : members_) member->SendAnother();
  }
  uint64_t most = 0;
  const size_t wanted = static_cast<size_t>(each) * kSessions;
  // The limit is for a part of them each time: how long all take is the machine's affair.
  for (size_t part = std::min<size_t>(4000, wanted);; part = std::min(part + 4000, wanted)) {
    ASSERT_TRUE(DriveUntil([&] { return Done() >= part; })) << Done() << " requests ended";
    most = std::max(most, ResidentBytes());
    if (part == wanted) break;
  }
  int least = each * kSessions;
  int greatest = 0;
  for (const auto& member : members_) {
    least = std::min(least, member->done());
    greatest = std::max(greatest, member->done());
    EXPECT_EQ(member->refused(), 0);
    EXPECT_FALSE(member->closed());
  }
  std::cout << "of " << each << " requests a session on average, the slowest had " << least << ", the fastest "
            << greatest << "; memory grew by " << (most - std::min(most, before)) / (1 << 20) << " MiB\n";
  EXPECT_GE(least, each / 4);
  EXPECT_LT(most, before + (uint64_t{256} << 20)) << "both ends together";
  for (const auto& member : members_) member->SendFurther(std::nullopt);
  EXPECT_TRUE(DriveUntil([&] {
    return std::all_of(members_.begin(), members_.end(), [](const auto& member) { return member->outstanding() == 0; });
  }));
  EXPECT_TRUE(WaitForMetric("droidspeak_inflight_bytes 0"));
}

TEST_P(CrowdTest, ASessionWithManyRequestsDoesNotStarveAnother) {
  constexpr int kMany = 900;
  constexpr int kFew = 20;
  Join(2);
  Member& greedy = *members_[0];
  Member& modest = *members_[1];
  greedy.SendFurther(MakeFetch(0, blocks_, {{Kind::kKv, 0}}));
  modest.SendFurther(MakeFetch(0, blocks_, {{Kind::kKv, 0}}));
  for (int request = 0; request < kMany; ++request) greedy.SendAnother();
  modest.SendAnother();  // one after the other
  ASSERT_TRUE(DriveUntil([&] { return modest.done() >= kFew; }));
  std::cout << "beside " << kFew << " requests, one at a time, the session with " << kMany << " had " << greedy.done()
            << "\n";
  EXPECT_LT(greedy.done(), 2 * kMany * kFew) << "each request waits for at most what was there before it";
  greedy.SendFurther(std::nullopt);
  modest.SendFurther(std::nullopt);
  EXPECT_TRUE(DriveUntil([&] { return greedy.outstanding() + modest.outstanding() == 0; }));
}

TEST_P(CrowdTest, RequestsBeyondASessionsLimitAreRefusedWithAHint) {
  constexpr int kMany = 1500;
  Join(1);
  for (int request = 0; request < kMany; ++request) {
    members_[0]->Send(MakeFetch(1 + request, blocks_, {{Kind::kKv, 0}}));
  }
  ASSERT_TRUE(DriveUntil([&] { return members_[0]->done() + members_[0]->refused() == kMany; }));
  EXPECT_GE(members_[0]->done(), 1024);
  EXPECT_FALSE(members_[0]->closed());
}

INSTANTIATE_TEST_SUITE_P(Transports, CrowdTest, testing::Values("local", "tcp"), TransportName);

}  // namespace
}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// Turns, priorities and bounds, with transfers that only count.
#include "cacheserver/service/scheduler.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>

#include "cacheserver/service/peer.h"
#include "cacheserver/service/tuning.h"

namespace droidspeak {
namespace {

// Moves nothing; keeps what was sent for the hello.
class DeafConnection final : public Connection {
 public:
  explicit DeafConnection(std::vector<std::byte>& sent) : sent_(sent) {}
  absl::Status Send(absl::Span<const std::byte> message) override {
    sent_.assign(message.begin(), message.end());
    return absl::OkStatus();
  }
  absl::Status AnnounceRegion(uint32_t, const MemoryRegion&) override { return absl::OkStatus(); }
  absl::Status WithdrawRegion(uint32_t) override { return absl::OkStatus(); }
  void Authorize() override {}
  absl::Status Push(const std::byte*, const RemoteRange&, uint64_t) override { return absl::OkStatus(); }
  absl::Status Pull(std::byte*, const RemoteRange&, uint64_t) override { return absl::OkStatus(); }
  void Close() override {}
  std::string peer() const override { return "test"; }

 private:
  std::vector<std::byte>& sent_;  // the last one
};

constexpr uint64_t kPieceBytes = 256 << 10;

// Posts pieces of one size; the test says when they have arrived.
class CountingTransfer final : public Transfer {
 public:
  CountingTransfer(Peer& peer, char name, uint32_t priority, std::string& log)
      : Transfer(peer, static_cast<uint32_t>(name), static_cast<uint64_t>(name), priority, absl::UnixEpoch(),
                 absl::InfiniteFuture()),
        name_(name),
        log_(log) {}

  uint64_t flying() const { return inflight_bytes(); }
  void ArriveOne() { PieceDone(0, absl::OkStatus()); }

 protected:
  uint64_t PostSome(uint64_t turn_bytes, uint64_t window_bytes) override {
    uint64_t posted = 0;
    while (posted < turn_bytes && (inflight_bytes() == 0 || inflight_bytes() + kPieceBytes <= window_bytes)) {
      AddInflight(kPieceBytes);
      posted += kPieceBytes;
    }
    if (posted > 0) log_.push_back(name_);
    return posted;
  }
  uint64_t FinishPiece(uint32_t, bool) override { return kPieceBytes; }
  bool AllPosted() const override { return false; }
  void DropPrepared() override {}
  void End(const absl::Status&) override {}

 private:
  const char name_;
  std::string& log_;
};

class SchedulerTest : public testing::Test {
 protected:
  SchedulerTest() {
    StoreOptions options;
    options.host_pool_bytes = 16 << 20;
    store_ = ExtentStore::Open(std::move(options)).value();
    context_ = std::make_unique<DataContext>(
        DataContext{*store_, sessions_, service_metrics_, scheduler_, std::make_shared<Inbox>(), absl::Seconds(1)});
  }

  // A connection of a session of its own, after its hello.
  std::shared_ptr<Peer> NewPeer(uint32_t tenant = 0, const Quota& quota = {}) {
    const std::shared_ptr<Session> session = sessions_.Open(Identity::Anyone(), tenant, quota, SteadyNow()).value();
    SessionKey key;
    std::copy_n(session->key().begin(), key.size(), key.begin());
    auto peer = std::make_shared<Peer>(*context_, "local", std::make_unique<DeafConnection>(sent_), absl::UnixEpoch());
    ClientHandshake client(session->id(), 1, key);
    peer->OnMessage(peer->connection(), client.Start());
    peer->OnMessage(peer->connection(), client.Next(sent_).value());
    EXPECT_TRUE(peer->authenticated());
    peers_.push_back(peer);
    return peer;
  }
  std::shared_ptr<CountingTransfer> NewTransfer(Peer& peer, char name, uint32_t priority) {
    auto transfer = std::make_shared<CountingTransfer>(peer, name, priority, log_);
    scheduler_.Add(*transfer);
    return transfer;
  }
  void PumpAll() {
    while (scheduler_.Pump() > 0) {
    }
  }

  Metrics metrics_;
  ServiceMetrics service_metrics_{metrics_};
  SessionTable sessions_{{}, [](uint64_t) {}};
  std::unique_ptr<ExtentStore> store_;
  Scheduler scheduler_;
  std::unique_ptr<DataContext> context_;
  std::vector<std::byte> sent_;
  std::vector<std::shared_ptr<Peer>> peers_;
  std::string log_;
};

TEST_F(SchedulerTest, SessionsTakeTurnsWhateverTheyAskFor) {
  const auto greedy = NewPeer();
  const auto modest = NewPeer();
  const auto a = NewTransfer(*greedy, 'a', 0);
  const auto b = NewTransfer(*greedy, 'b', 0);
  const auto c = NewTransfer(*greedy, 'c', 0);
  const auto m = NewTransfer(*modest, 'm', 0);
  for (int i = 0; i < 6; ++i) scheduler_.Pump();
  EXPECT_EQ(log_, "ambmcm");
}

TEST_F(SchedulerTest, StoresAreNotLeftWithoutAnyTurn) {
  const auto peer = NewPeer();
  const auto fetch = NewTransfer(*peer, 'f', 0);
  const auto store = NewTransfer(*peer, 's', 1);
  for (int i = 0; i < 64; ++i) {
    scheduler_.Pump();
    while (fetch->flying() > 0) fetch->ArriveOne();  // there is always more to send at once
  }
  EXPECT_GE(std::count(log_.begin(), log_.end(), 's'), 1);
  EXPECT_GE(std::count(log_.begin(), log_.end(), 'f'), 48);
}

TEST_F(SchedulerTest, TransfersOfOnePriorityTakeTurns) {
  const auto peer = NewPeer();
  const auto a = NewTransfer(*peer, 'a', 0);
  const auto b = NewTransfer(*peer, 'b', 0);
  for (int i = 0; i < 4; ++i) scheduler_.Pump();
  EXPECT_EQ(log_, "abab");
  PumpAll();
  EXPECT_EQ(a->flying(), tuning::kRequestWindowBytes);
  EXPECT_EQ(b->flying(), tuning::kRequestWindowBytes);
  EXPECT_EQ(scheduler_.inflight_bytes(), 2 * tuning::kRequestWindowBytes);
}

TEST_F(SchedulerTest, ATenantBeyondItsBandwidthWaitsAndHoldsUpNobody) {
  Quota quota;
  quota.bytes_per_second = 100;  // a piece takes longer to earn than the test runs
  const auto slow = NewTransfer(*NewPeer(1, quota), 's', 0);
  const auto also_slow = NewTransfer(*NewPeer(1, quota), 'S', 0);
  const auto free = NewTransfer(*NewPeer(2), 'f', 0);
  PumpAll();
  EXPECT_GT(slow->flying(), 0u) << "it starts with credit";
  EXPECT_LT(slow->flying(), tuning::kRequestWindowBytes);
  EXPECT_EQ(also_slow->flying(), 0u) << "sessions of a tenant share its bandwidth";
  EXPECT_EQ(free->flying(), tuning::kRequestWindowBytes);
  scheduler_.Tick();
  PumpAll();
  EXPECT_EQ(also_slow->flying(), 0u);
}

TEST(TokenBucketTest, CreditComesWithTimeAndDebtIsWaitedFor) {
  const absl::Time start = absl::FromUnixSeconds(1000);
  TokenBucket bucket(1000);
  EXPECT_TRUE(bucket.HasCredit(start));
  bucket.Take(1100);  // 100 of it had been saved
  EXPECT_FALSE(bucket.HasCredit(start + absl::Milliseconds(999)));
  EXPECT_TRUE(bucket.HasCredit(start + absl::Milliseconds(1001)));
  EXPECT_TRUE(bucket.HasCredit(start + absl::Hours(1)));
  bucket.Take(101);  // a pause saves a tenth of a second
  EXPECT_FALSE(bucket.HasCredit(start + absl::Hours(1)));
}

TEST_F(SchedulerTest, PrefetchesYieldToFirstTokens) {
  const auto peer = NewPeer();
  const auto late = NewTransfer(*peer, 'p', 1);
  const auto first = NewTransfer(*peer, 'f', 0);
  PumpAll();
  EXPECT_EQ(first->flying(), tuning::kRequestWindowBytes);
  EXPECT_EQ(late->flying(), tuning::kYieldWindowBytes);
  EXPECT_LT(log_.rfind('f'), log_.find('p'));
  // With the first token's fetch gone, the other has the whole window.
  while (first->flying() > 0) first->ArriveOne();
  scheduler_.Remove(*first);
  first->Detach();
  late->ArriveOne();
  PumpAll();
  EXPECT_EQ(late->flying(), tuning::kRequestWindowBytes);
}

TEST_F(SchedulerTest, ASessionsBoundHoldsItsTransfersNotOthers) {
  const auto greedy = NewPeer();
  std::vector<std::shared_ptr<CountingTransfer>> many;
  for (char name = 'A'; name < 'A' + 12; ++name) many.push_back(NewTransfer(*greedy, name, 0));
  PumpAll();
  EXPECT_GE(greedy->session()->load.inflight_bytes, tuning::kSessionInflightBytes);
  EXPECT_LT(greedy->session()->load.inflight_bytes, tuning::kSessionInflightBytes + 2 * tuning::kTurnBytes);
  const auto modest = NewTransfer(*NewPeer(), 'm', 0);
  PumpAll();
  EXPECT_EQ(modest->flying(), tuning::kRequestWindowBytes);
  // What arrives makes room for those that waited.
  const uint64_t before = greedy->session()->load.inflight_bytes;
  for (int i = 0; i < 8; ++i) many[0]->ArriveOne();
  PumpAll();
  EXPECT_GE(greedy->session()->load.inflight_bytes, before - tuning::kTurnBytes);
}

TEST_F(SchedulerTest, TheServersBoundHoldsEverybody) {
  for (int i = 0; i < 12; ++i) {
    const auto peer = NewPeer();
    for (char name = 'A'; name < 'A' + 8; ++name) NewTransfer(*peer, name, 0);
  }
  PumpAll();
  EXPECT_GE(scheduler_.inflight_bytes(), tuning::kServerInflightBytes);
  EXPECT_LT(scheduler_.inflight_bytes(), tuning::kServerInflightBytes + 2 * tuning::kTurnBytes);
}

TEST_F(SchedulerTest, ATransferWhoseConnectionIsGoneIsForgotten) {
  const auto peer = NewPeer();
  const auto gone = NewTransfer(*peer, 'g', 0);
  scheduler_.Remove(*gone);
  gone->Detach();
  EXPECT_EQ(scheduler_.Pump(), 0u);
  EXPECT_EQ(scheduler_.transfers(), 0u);
  EXPECT_EQ(log_, "");
}

}  // namespace
}  // namespace droidspeak

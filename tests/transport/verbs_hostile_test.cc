// SPDX-License-Identifier: Apache-2.0
// A verbs server and peers that break the protocol or name memory that is not theirs. Needs an RDMA device:
// tests/rdma/run.sh.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "absl/time/clock.h"
#include "common/transport/verbs/device.h"
#include "common/transport/verbs/frame.h"
#include "common/transport/verbs/introduction.h"
#include "common/transport/verbs/queue_pair.h"
#include "common/transport/verbs/resources.h"
#include "common/transport/verbs/verbs_transport.h"
#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

using verbs::AnnouncePayload;
using verbs::FrameHeader;
using verbs::FrameType;
using verbs::Introduction;

// A server, and a client that knows the protocol and does what it likes.
class HostileTest : public testing::Test {
 protected:
  static constexpr size_t kMemoryBytes = 64 << 10;

  void SetUp() override {
    arena_ = *HostArena::Create("hostile-test", kMemoryBytes);
    worker_ = *VerbsTransport().CreateWorker();
    ASSERT_TRUE(worker_->Register({arena_->base(), arena_->bytes(), arena_->fd()}).ok());
    ASSERT_TRUE(worker_
                    ->Listen("",
                             [this](std::unique_ptr<Connection> connection) {
                               connection->Authorize();
                               accepted_ = std::move(connection);
                               return &server_;
                             })
                    .ok());
    device_ = *verbs::Device::Open();
    ASSERT_TRUE(verbs::Take(ibv_alloc_pd(device_->context()), "domain", domain_).ok());
    ASSERT_TRUE(verbs::Take(ibv_create_cq(device_->context(), 256, nullptr, nullptr, 0), "queue", completions_).ok());
    memory_.resize(kMemoryBytes);
    registration_ = *verbs::RegisterMemory(domain_.get(), {memory_.data(), memory_.size()},
                                           IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
    queue_ = std::make_unique<verbs::QueuePair>(
        *verbs::QueuePair::Create(*device_, domain_.get(), completions_.get(), true));
    Introduction own;
    own.lid = device_->port_attributes().lid;
    own.mtu = IBV_MTU_1024;
    own.link_layer = device_->port_attributes().link_layer;
    std::memcpy(own.gid, device_->gid().raw, sizeof(own.gid));
    own.frame_bytes = verbs::kFrameBytes;
    own.receives = verbs::kReceives;
    own.queue_pairs = own.reads = 1;
    own.queue_pair[0] = queue_->number();
    const auto answer = worker_->Answer(own.Encode());
    ASSERT_TRUE(answer.ok()) << answer.status();
    peer_ = *Introduction::Decode(*answer);
    ASSERT_TRUE(queue_->Connect(*device_, peer_, 0).ok());
    for (int i = 0; i < receives_posted_; ++i) {
      ASSERT_TRUE(queue_->Receive(0, memory_.data(), verbs::kFrameBytes, registration_->lkey).ok());
    }
  }

  // What stands on another thing goes before it.
  void TearDown() override {
    accepted_.reset();
    worker_.reset();
    queue_.reset();
    registration_.reset();
    completions_.reset();
    domain_.reset();
    device_.reset();
    server_ = Recorder();
  }

  void Send(const FrameHeader& header, absl::Span<const std::byte> payload = {}) {
    std::byte* const frame = memory_.data() + kMemoryBytes / 2;
    std::memcpy(frame, &header, sizeof(header));
    if (!payload.empty()) std::memcpy(frame + sizeof(header), payload.data(), payload.size());
    Post(IBV_WR_SEND, frame, sizeof(header) + payload.size());
  }
  ibv_wc_status Post(ibv_wr_opcode opcode, std::byte* local, size_t bytes, uint64_t remote = 0, uint32_t key = 0) {
    queue_->Add({0}, opcode, {reinterpret_cast<uint64_t>(local), static_cast<uint32_t>(bytes), registration_->lkey},
                remote, key);
    EXPECT_TRUE(queue_->Post(7).ok());
    ibv_wc completion{};
    const bool ended = RunUntil([&] {
      while (ibv_poll_cq(completions_.get(), 1, &completion) > 0) {
        if (completion.wr_id == 7) return true;
      }
      return false;
    });
    EXPECT_TRUE(ended);
    queue_->TakeCompleted();
    return completion.status;
  }
  void Open() { Send({FrameType::kOpen, 1, 0, 0}); }
  void Announce(uint64_t address, uint32_t key, uint64_t bytes) {
    const AnnouncePayload payload{1, key, address, bytes};
    Send({FrameType::kAnnounce, 1, 0, sizeof(payload)},
         {reinterpret_cast<const std::byte*>(&payload), sizeof(payload)});
  }
  bool RunUntil(const std::function<bool()>& condition) {
    const absl::Time limit = absl::Now() + absl::Seconds(30);
    while (!condition()) {
      if (absl::Now() > limit) return false;
      worker_->Progress();
    }
    return true;
  }
  bool RunUntilClosed() {
    return RunUntil([&] { return server_.closed.has_value(); });
  }

  int receives_posted_ = verbs::kReceives;
  std::unique_ptr<HostArena> arena_;
  std::unique_ptr<Worker> worker_;
  Recorder server_;
  std::unique_ptr<Connection> accepted_;
  std::shared_ptr<verbs::Device> device_;
  verbs::ProtectionDomain domain_;
  verbs::CompletionQueue completions_;
  std::vector<std::byte> memory_;
  verbs::Registration registration_;
  std::unique_ptr<verbs::QueuePair> queue_;
  Introduction peer_;
};

TEST_F(HostileTest, AWrongAddressFailsItsTransferAndItsConnection) {
  const int64_t before = verbs::remote_access_errors;
  ASSERT_NO_FATAL_FAILURE(Open());
  Announce(reinterpret_cast<uint64_t>(memory_.data()), registration_->rkey, uint64_t{1} << 40);  // has less
  ASSERT_TRUE(RunUntil([&] { return accepted_->Push(arena_->base(), {1, uint64_t{1} << 30, 4096}, 5).ok(); }));
  ASSERT_TRUE(RunUntilClosed());
  EXPECT_EQ(server_.done.at(5).code(), absl::StatusCode::kUnavailable) << server_.done.at(5);
  EXPECT_EQ(server_.closed->code(), absl::StatusCode::kUnavailable) << *server_.closed;
  EXPECT_EQ(verbs::remote_access_errors, before + 1);
}

TEST_F(HostileTest, AWrongKeyFailsItsTransferAndItsConnection) {
  ASSERT_NO_FATAL_FAILURE(Open());
  Announce(reinterpret_cast<uint64_t>(memory_.data()), registration_->rkey ^ 0x5a00, 4096);
  ASSERT_TRUE(RunUntil([&] { return accepted_->Pull(arena_->base(), {1, 0, 4096}, 5).ok(); }));
  ASSERT_TRUE(RunUntilClosed());
  EXPECT_EQ(server_.done.at(5).code(), absl::StatusCode::kUnavailable);
}

// It has said that it would take messages, and does not.
TEST_F(HostileTest, APeerThatIsNeverReadyIsGivenUp) {
  TearDown();
  receives_posted_ = 0;
  ASSERT_NO_FATAL_FAILURE(SetUp());
  ASSERT_NO_FATAL_FAILURE(Open());
  const absl::Time sent = absl::Now();
  ASSERT_TRUE(RunUntil([&] { return accepted_->Send(BytesOf("anybody there?")).ok(); }));
  ASSERT_TRUE(RunUntilClosed());
  EXPECT_EQ(server_.closed->code(), absl::StatusCode::kUnavailable) << *server_.closed;
  EXPECT_LT(absl::Now() - sent, absl::Seconds(5));
}

TEST_F(HostileTest, AQueuePairInErrorFailsAllThatIsUnderWay) {
  ASSERT_NO_FATAL_FAILURE(Open());
  Announce(reinterpret_cast<uint64_t>(memory_.data()), registration_->rkey, kMemoryBytes);
  const RemoteRange range{1, 0, 4096};
  ASSERT_TRUE(RunUntil([&] { return accepted_->Push(arena_->base(), range, 1).ok(); }));
  ASSERT_TRUE(RunUntil([&] { return server_.done.count(1) == 1; }));
  EXPECT_TRUE(server_.done.at(1).ok());
  queue_.reset();  // the peer's: nothing is acknowledged any more, and the server's own goes into error
  for (uint64_t token = 2; token < 40; ++token) {
    std::byte* const memory = arena_->base() + 4096;
    ASSERT_TRUE((token % 2 == 0 ? accepted_->Push(memory, range, token) : accepted_->Pull(memory, range, token)).ok());
  }
  ASSERT_TRUE(RunUntilClosed());
  ASSERT_EQ(server_.done.size(), 39u);
  for (uint64_t token = 2; token < 40; ++token) {
    EXPECT_EQ(server_.done.at(token).code(), absl::StatusCode::kUnavailable) << token;
  }
}

// No key of the server's is ever told, its queue pairs take none, and its memory is registered for its own use.
TEST_F(HostileTest, NothingOfTheServerCanBeReadOrWritten) {
  ASSERT_NO_FATAL_FAILURE(Open());
  std::memset(arena_->base(), 0x33, kMemoryBytes);
  // The address and, as they are handed out, a key near the client's own: far better guesses than an attacker has.
  const auto address = reinterpret_cast<uint64_t>(arena_->base());
  EXPECT_NE(Post(IBV_WR_RDMA_WRITE, memory_.data(), 4096, address, registration_->rkey), IBV_WC_SUCCESS);
  EXPECT_EQ(arena_->base()[0], std::byte{0x33});
}

TEST_F(HostileTest, ReadingIsRefusedToo) {
  ASSERT_NO_FATAL_FAILURE(Open());
  std::memset(memory_.data(), 0x44, 4096);
  const auto address = reinterpret_cast<uint64_t>(arena_->base());
  EXPECT_NE(Post(IBV_WR_RDMA_READ, memory_.data(), 4096, address, registration_->rkey), IBV_WC_SUCCESS);
  EXPECT_EQ(memory_[0], std::byte{0x44});
}

TEST_F(HostileTest, FramesThatMakeNoSenseEndTheConnection) {
  struct Case {
    const char* name;
    bool opened;
    FrameHeader header;
    size_t payload;
  };
  const Case cases[] = {
      {"a message before the opening", false, {FrameType::kMessage, 1, 0, 4}, 4},
      {"a second opening", true, {FrameType::kOpen, 1, 0, 0}, 0},
      {"an unknown type", true, {static_cast<FrameType>(99), 1, 0, 0}, 0},
      {"a length beyond the frame", true, {FrameType::kMessage, 1, 0, 4096}, 4},
      {"an empty message", true, {FrameType::kMessage, 1, 0, 0}, 0},
      {"a short announcement", true, {FrameType::kAnnounce, 1, 0, 4}, 4},
      {"a withdrawal of nothing", true, {FrameType::kWithdraw, 1, 0, 4}, 4},
      {"credit without end", true, {FrameType::kCredit, 1, 0xffff, 0}, 0},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    TearDown();
    ASSERT_NO_FATAL_FAILURE(SetUp());
    if (one.opened) Open();
    Send(one.header, std::vector<std::byte>(one.payload));
    ASSERT_TRUE(RunUntilClosed());
    EXPECT_EQ(server_.closed->code(), absl::StatusCode::kInvalidArgument) << *server_.closed;
    EXPECT_TRUE(server_.messages.empty());
  }
}

TEST_F(HostileTest, WordsThatMakeNoSenseAreRefused) {
  Introduction wrong;
  for (const std::string& words : {std::string(), std::string(sizeof(Introduction), '\0'), wrong.Encode()}) {
    EXPECT_EQ(worker_->Answer(words).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
// The control plane and the admin server among strangers: bytes that are no gRPC, requests that are too large, peers
// that send a little now and then.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "common/base/host_port.h"
#include "droidspeak/v1/control.grpc.pb.h"
#include "tests/cacheserver/service/service_fixture.h"
#include "tests/support/count.h"

namespace droidspeak {
namespace {

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// A socket that sends what it is told.
class Stranger {
 public:
  explicit Stranger(const std::string& address) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const HostPort host_port = HostPort::Parse(address).value();
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(host_port.port);
    inet_pton(AF_INET, host_port.host.c_str(), &to.sin_addr);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;
  ~Stranger() { close(fd_); }
  bool connected() const { return connected_; }
  // False when the other end is gone.
  bool Send(const std::string& bytes) { return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0; }
  // Reads what is there, waiting at most so long; true once the other end has closed.
  bool Closed(int wait_ms) {
    pollfd fd = {fd_, POLLIN, 0};
    char buffer[4096];
    while (poll(&fd, 1, wait_ms) == 1) {
      if (recv(fd_, buffer, sizeof buffer, 0) <= 0) return true;
    }
    return false;
  }

 private:
  const int fd_;
  bool connected_ = false;
};

uint64_t ResidentBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoull(line.substr(6)) << 10;
  }
  return 0;
}

class HostileControlTest : public ServiceTest {
 protected:
  void SetUp() override {
    options_.lease = absl::Minutes(5);
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ConnectClient(1 << 20);
  }
  const std::string& listen() const { return server_->addresses().listen; }
  void ExpectServed() {
    EXPECT_TRUE(RawHeartbeat(listen(), session_).ok());
    EXPECT_EQ(HttpGet(server_->addresses().admin, "/livez"), "ok\n");
  }
};

TEST_P(HostileControlTest, BytesThatAreNoGrpcEndTheirConnectionOnly) {
  const int cases = Count(300, 3000);
  const uint64_t seed = Seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  const uint64_t before = ResidentBytes();
  for (int i = 0; i < cases; ++i) {
    Stranger stranger(listen());
    ASSERT_TRUE(stranger.connected());
    std::string bytes = random() % 2 == 0 ? kPreface : "";
    for (uint64_t frames = random() % 8; frames > 0; --frames) {
      // A frame of HTTP/2, more or less: length, type, flags, stream.
      const uint64_t length = random() % 4 == 0 ? random() % (1 << 24) : random() % 64;
      for (const uint64_t byte : {length >> 16, length >> 8, length, random() % 12, random(), uint64_t{0}, uint64_t{0},
                                  uint64_t{0}, random() % 8}) {
        bytes.push_back(static_cast<char>(byte));
      }
      for (uint64_t n = random() % 64; n > 0; --n) bytes.push_back(static_cast<char>(random()));
    }
    stranger.Send(bytes + " ");
    stranger.Closed(0);
  }
  ExpectServed();
#ifndef DROIDSPEAK_SANITIZED
  EXPECT_LT(ResidentBytes(), before + (64 << 20));
#else
  (void)before;
#endif
}

TEST_P(HostileControlTest, MalformedRequestsAreRefused) {
  const int cases = Count(500, 5000);
  const uint64_t seed = Seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  grpc::GenericStub stub(grpc::CreateChannel(listen(), grpc::InsecureChannelCredentials()));
  constexpr const char* kMethods[] = {"OpenSession", "OpenNamespace", "Heartbeat", "CloseSession", "NoSuch"};
  const absl::StatusOr<RawSession> victim = OpenRawSession(listen(), GetParam());  // what closes it may be among them
  ASSERT_TRUE(victim.ok()) << victim.status();
  v1::OpenNamespaceRequest good;
  good.set_session_id(victim->id);
  good.set_session_key(victim->key);
  good.set_weights(std::string(32, 'w'));
  good.set_layout(kSmallLayout);
  for (int i = 0; i < cases; ++i) {
    std::string bytes = good.SerializeAsString();
    for (uint64_t changes = 1 + random() % 6; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 3 == 0) bytes.resize(random() % bytes.size());
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    const std::string method = std::string("/droidspeak.v1.Control/") + kMethods[random() % std::size(kMethods)];
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kLimit));
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, &queue);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << method;
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE) << method << ": " << status.error_message();
  }
  ExpectServed();
  EXPECT_LE(Metric("droidspeak_sessions"), 2);
}

TEST_P(HostileControlTest, MetadataAndMessagesBeyondTheLimitsAreRefused) {
  const auto stub = v1::Control::NewStub(grpc::CreateChannel(listen(), grpc::InsecureChannelCredentials()));
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_session_id(session_.id);
  heartbeat.set_session_key(session_.key);
  v1::HeartbeatResponse beaten;
  for (const size_t bytes : {size_t{60} << 10, size_t{1} << 20}) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kLimit));
    context.AddMetadata("x-much", std::string(bytes, 'm'));
    const grpc::Status status = stub->Heartbeat(&context, heartbeat, &beaten);
    // gRPC may cut the connection before its answer has arrived.
    EXPECT_TRUE(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ||
                status.error_code() == grpc::StatusCode::UNAVAILABLE)
        << bytes << ": " << status.error_code() << " " << status.error_message();
  }
  v1::OpenNamespaceRequest request;
  request.set_session_id(session_.id);
  request.set_session_key(session_.key);
  request.set_layout(std::string(8 << 20, 'l'));
  v1::OpenNamespaceResponse response;
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kLimit));
  EXPECT_EQ(stub->OpenNamespace(&context, request, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ExpectServed();
}

// They hold what they have opened only until their time is over, and others are served meanwhile.
TEST_P(HostileControlTest, PeersThatSendLittleAreCutOff) {
  std::vector<std::unique_ptr<Stranger>> slow;
  for (int i = 0; i < 200; ++i) {
    slow.push_back(std::make_unique<Stranger>(listen()));
    ASSERT_TRUE(slow.back()->connected());
    slow.back()->Send(std::string(kPreface, i % 20 + 1));
  }
  for (int i = 0; i < 100; ++i) {  // more than the admin server takes
    slow.push_back(std::make_unique<Stranger>(server_->addresses().admin));
    slow.back()->Send("GET /livez HTTP/1.1\r\nHo");
  }
  EXPECT_TRUE(RawHeartbeat(listen(), session_).ok());
  EXPECT_TRUE(OpenRawSession(listen(), GetParam()).ok());
  const absl::Time deadline = absl::Now() + kLimit;
  for (size_t i = 0; i < slow.size(); ++i) {
    while (!slow[i]->Closed(100) && absl::Now() < deadline) slow[i]->Send("s");  // a little more
    EXPECT_LT(absl::Now(), deadline) << "peer " << i << " is still there";
  }
  ExpectServed();
}

INSTANTIATE_TEST_SUITE_P(Transports, HostileControlTest, testing::Values("tcp"), TransportName);

}  // namespace
}  // namespace droidspeak

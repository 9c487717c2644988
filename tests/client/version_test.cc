// SPDX-License-Identifier: Apache-2.0
// A client with servers of another time, and models that changed under their name.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "droidspeak/v1/control.grpc.pb.h"
#include "tests/client/client_fixture.h"
#include "tests/support/taken_port.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

// A control plane that answers as a test says.
class FakeServer : public v1::Control::Service {
 public:
  FakeServer() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  ~FakeServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  absl::Status Connect() {
    ClientOptions options;
    options.servers = {{"", address_}};
    return Client::Connect(options).status();
  }

  v1::OpenSessionRequest asked;
  grpc::Status answer = grpc::Status::OK;
  v1::OpenSessionResponse opened;

 private:
  grpc::Status OpenSession(grpc::ServerContext*, const v1::OpenSessionRequest* request,
                           v1::OpenSessionResponse* response) override {
    asked = *request;
    *response = opened;
    return answer;
  }

  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST(Versions, AServerOfAnotherProtocolIsRefusedWithItsWords) {
  FakeServer server;
  server.answer = {grpc::StatusCode::FAILED_PRECONDITION, "the client speaks protocol 1, server cache-0 speaks 2"};
  const absl::Status refused = server.Connect();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("server cache-0 speaks 2"));
  EXPECT_EQ(server.asked.protocol_version(), 1u);
  EXPECT_NE(server.asked.client_version(), "");
}

TEST(Versions, AnAnswerThatIsNoneOfThisProtocolIsAnError) {
  FakeServer server;
  server.opened.set_transport("tcp");
  for (const size_t bytes : {0, 16, 33}) {
    server.opened.set_session_key(std::string(bytes, 'k'));
    EXPECT_FALSE(server.Connect().ok()) << "a key of " << bytes << " bytes";
  }
  server.opened.set_session_key(std::string(32, 'k'));
  const TakenPort silent;  // takes connections, and says nothing of any version
  server.opened.set_data_address(silent.address());
  EXPECT_FALSE(server.Connect().ok());
  server.opened.set_transport("a transport of later times");
  EXPECT_FALSE(server.Connect().ok());
}

class ChangedWeights : public ClientTest {};

TEST_F(ChangedWeights, AreAnotherNamespaceWhoseBlocksAreMisses) {
  StartServer("a");
  const auto client = Connect();
  ASSERT_NE(client, nullptr);
  const std::vector<uint32_t> tokens = Tokens(layout_, 20);
  const NamespaceHandle before = Open(*client, /*weights=*/1);
  StoreAll(*client, before, tokens);
  // The same name, tokens and layout; other weights, and then another adapter.
  const NamespaceHandle after = Open(*client, /*weights=*/2);
  Digest weights;
  weights.bytes.fill(1);
  Digest adapter;
  adapter.bytes.fill(3);
  const auto adapted = client->OpenNamespace(weights, &adapter, layout_);
  ASSERT_TRUE(adapted.ok()) << adapted.status();
  for (const NamespaceHandle& other : {after, *adapted}) {
    EXPECT_NE(other.bytes, before.bytes);
    std::vector<std::byte> kv(20 * layout_.kv_bytes());
    EXPECT_EQ(*client->FetchKv(other, tokens, 0, absl::MakeSpan(kv)), 0);
    // Nor by the hashes of before.
    for (const Digest& root : {before.bytes, other.bytes}) {
      for (const BlockCoverage& block : client->Coverage(other, BlockHashes(root, tokens, layout_.block_tokens))) {
        EXPECT_EQ(block.kv[0], 0u);
        EXPECT_EQ(block.e[0], 0u);
      }
    }
  }
  std::vector<std::byte> kv(20 * layout_.kv_bytes());
  EXPECT_EQ(*client->FetchKv(before, tokens, 0, absl::MakeSpan(kv)), 20);
  EXPECT_EQ(kv, Stored(Kind::kKv, 0, 20));
}

}  // namespace
}  // namespace droidspeak

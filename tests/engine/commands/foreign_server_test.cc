// SPDX-License-Identifier: Apache-2.0
// Addresses at which something listens that is no cache server of this version, and a disk that is full.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "droidspeak/v1/control.grpc.pb.h"
#include "tests/engine/commands/engine_program.h"
#include "tests/support/server_process.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kData = DROIDSPEAK_PREFILL_TESTDATA;

class ForeignServerTest : public testing::Test {
 protected:
  std::string Out() const { return folder_.path() + "/out.safetensors"; }
  // Scores a prompt with a context from the server at `address`.
  Outcome Score(const std::string& address) const {
    WriteTokens(folder_.path() + "/in.safetensors", {{"x", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}});
    return RunEngine(absl::StrCat("score --model ", kData, "/llama-receiver --sender ", kData,
                                  "/llama-sender --tokens ", folder_.path(), "/in.safetensors --out ", Out(),
                                  " --context 8 --block-tokens 8 --plan 1,2,3 --servers ", address));
  }
  // It failed, said of which address and why, and wrote nothing.
  void ExpectRefused(const Outcome& outcome, const std::string& address, const std::string& why) const {
    EXPECT_EQ(outcome.exit_code, 1) << outcome.messages;
    EXPECT_THAT(outcome.messages, HasSubstr(address));
    EXPECT_THAT(outcome.messages, HasSubstr(why));
    EXPECT_THAT(outcome.messages, Not(HasSubstr("terminate called")));
    EXPECT_FALSE(std::filesystem::exists(Out()));
  }
  TemporaryFolder folder_;
};

// Answers OpenSession as told, and nothing else.
class FakeControl : public v1::Control::Service {
 public:
  FakeControl(grpc::Status status, v1::OpenSessionResponse answer)
      : status_(std::move(status)), answer_(std::move(answer)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeControl() override { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  grpc::Status OpenSession(grpc::ServerContext*, const v1::OpenSessionRequest*,
                           v1::OpenSessionResponse* response) override {
    *response = answer_;
    return status_;
  }

 private:
  const grpc::Status status_;
  const v1::OpenSessionResponse answer_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(ForeignServerTest, AServerOfAnotherVersionIsNamedWithWhatItSpeaks) {
  const FakeControl server({grpc::StatusCode::FAILED_PRECONDITION, "the client speaks protocol 1, server x speaks 2"},
                           {});
  ExpectRefused(Score(server.address()), server.address(), "server x speaks 2");
}

TEST_F(ForeignServerTest, AServerThatMisunderstandsIsNamedWithWhatWasExpected) {
  v1::OpenSessionResponse answer;
  answer.set_session_key("abc");
  const FakeControl server(grpc::Status::OK, answer);
  ExpectRefused(Score(server.address()), server.address(), "session key of 3 bytes; expected 32");
}

TEST_F(ForeignServerTest, AListenerThatNeverAnswersIsNotWaitedForLong) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), bytes), 0);
  ASSERT_EQ(listen(fd, 4), 0);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes);
  const std::string name = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  ExpectRefused(Score(name), name, "");
  close(fd);
}

TEST_F(ForeignServerTest, AFullDiskLeavesNoOutput) {
  WriteTokens(folder_.path() + "/in.safetensors", {{"x", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}});
  // Files of at most 512 bytes, and no signal for it: write() fails as on a full disk.
  const Outcome outcome = RunEngine(absl::StrCat("score --all-positions --model ", kData, "/llama-receiver --tokens ",
                                                 folder_.path(), "/in.safetensors --out ", Out()),
                                    "trap '' XFSZ; ulimit -f 1; ");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.messages, HasSubstr("out.safetensors"));
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    EXPECT_THAT(entry.path().string(), Not(HasSubstr("out.safetensors")));
  }
}

}  // namespace
}  // namespace droidspeak

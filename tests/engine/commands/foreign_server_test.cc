// SPDX-License-Identifier: Apache-2.0
// Addresses at which something listens that is no cache server of this version, and a disk that is full.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "droidspeak/v1/control.grpc.pb.h"
#include "tests/engine/commands/engine_program.h"
#include "tests/support/server_process.h"
#include "tests/support/taken_port.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kData = DROIDSPEAK_PREFILL_TESTDATA;

class ForeignServerTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteTokens(folder_.path() + "/in.safetensors", {{"x", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}});
  }
  std::string Out() const { return folder_.path() + "/out.safetensors"; }
  // Scores a prompt with a context from the server at `address`.
  Outcome Score(const std::string& address) const {
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
  const TakenPort silent;
  ExpectRefused(Score(silent.address()), silent.address(), "");
}

TEST_F(ForeignServerTest, AFullDiskLeavesNoOutput) {
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

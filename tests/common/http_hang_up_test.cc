// SPDX-License-Identifier: Apache-2.0
// Peers that are gone, or as good as gone, before they have their answer.
#include <chrono>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "common/base/http_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/http_client.h"
#include "tests/common/http_later_fixture.h"

namespace droidspeak {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using HttpHangUpTest = HttpLaterFixture;

// Writes until it is told that nobody takes it.
bool RefusedWithinLimit(const Reply& reply, size_t piece_bytes) {
  const auto limit = std::chrono::steady_clock::now() + kWaitLimit;
  while (std::chrono::steady_clock::now() < limit) {
    if (!reply->Write(std::string(piece_bytes, 'x'))) return true;
  }
  return false;
}

TEST_F(HttpHangUpTest, AHangUpIsToldToWhoWorksOnTheAnswer) {
  Start();
  const Reply reply = Ask(kGet);
  absl::Notification hung_up;
  reply->OnHangUp([&] { hung_up.Notify(); });
  EXPECT_FALSE(hung_up.HasBeenNotified());
  client_.reset();
  EXPECT_TRUE(hung_up.WaitForNotificationWithTimeout(absl::FromChrono(kWaitLimit)));
  bool at_once = false;
  reply->OnHangUp([&] { at_once = true; });
  EXPECT_TRUE(at_once);
  reply->Begin(200, "text/plain");
  EXPECT_FALSE(reply->Write("to nobody"));
}

TEST_F(HttpHangUpTest, AHangUpAfterTheAnswerIsNotTold) {
  Start();
  bool hung_up = false;
  {
    const Reply reply = Ask(kGet);
    reply->OnHangUp([&, reply] { hung_up = true; });
    reply->Send({.body = "done"});
    client_->ReadUntil("done");
    client_->Send("GET /now HTTP/1.1\r\n\r\n");  // answered when the first answer is complete
    client_->ReadUntil("now");
    reply->OnHangUp([&] { hung_up = true; });
  }
  client_.reset();
  server_->Stop();
  EXPECT_FALSE(hung_up);
}

TEST_F(HttpHangUpTest, AHangUpInTheMiddleEndsTheWriting) {
  Start({.unsent_bytes = size_t{1} << 40});
  const Reply reply = Ask(kGet);
  reply->Begin(200, "text/plain");
  EXPECT_TRUE(reply->Write("one"));
  EXPECT_THAT(client_->ReadUntil("one"), EndsWith("one"));
  client_.reset();
  EXPECT_TRUE(RefusedWithinLimit(reply, 1));
}

TEST_F(HttpHangUpTest, WhoReadsNothingIsCutOffWhenTooMuchIsUnsent) {
  Start({.unsent_bytes = 100000, .request_timeout_ms = 600000});
  const Reply reply = Ask(kGet);
  absl::Notification hung_up;
  reply->OnHangUp([&] { hung_up.Notify(); });
  reply->Begin(200, "text/plain");
  EXPECT_TRUE(RefusedWithinLimit(reply, 10000));
  EXPECT_TRUE(hung_up.WaitForNotificationWithTimeout(absl::FromChrono(kWaitLimit)));
  EXPECT_THAT(client_->ReadAll(), Not(EndsWith("0\r\n\r\n")));
}

TEST_F(HttpHangUpTest, WhoTakesAPieceTooSlowlyIsCutOff) {
  Start({.unsent_bytes = size_t{1} << 40, .request_timeout_ms = 500});
  const Reply reply = Ask(kGet);
  absl::Notification hung_up;
  reply->OnHangUp([&] { hung_up.Notify(); });
  reply->Begin(200, "text/plain");
  std::string piece;
  piece.resize(100'000'000, 'x');
  EXPECT_TRUE(reply->Write(std::move(piece)));
  EXPECT_TRUE(hung_up.WaitForNotificationWithTimeout(absl::FromChrono(kWaitLimit)));
  EXPECT_FALSE(reply->Write("more"));
}

TEST_F(HttpHangUpTest, ARequestThatComesDuringAnAnswerIsNoHangUp) {
  Start();
  const Reply reply = Ask(kGet);
  bool hung_up = false;
  reply->OnHangUp([&] { hung_up = true; });
  client_->Send("GET /now HTTP/1.1\r\nConnection: close\r\n\r\n");
  HttpClient other(server_->address());  // a round trip, after which the server has most likely seen it
  other.Send("GET /now HTTP/1.1\r\n\r\n");
  other.ReadUntil("now");
  reply->Send({.body = "first"});
  EXPECT_THAT(client_->ReadAll(), AllOf(HasSubstr("\r\n\r\nfirstHTTP/1.1 200"), EndsWith("now")));
  EXPECT_FALSE(hung_up);
}

TEST_F(HttpHangUpTest, StopTellsWhoWorksOnAnAnswerAndAReplyMayOutliveTheServer) {
  Start();
  Reply begun = Ask(kGet);
  begun->Begin(200, "text/plain");
  HttpClient other(server_->address());
  other.Send(kGet);
  Reply waiting = requests_.Next().second;
  int hung_up = 0;
  for (const Reply& reply : {begun, waiting}) reply->OnHangUp([&, reply] { ++hung_up; });
  server_->Stop();
  EXPECT_EQ(hung_up, 2);
  server_.reset();
  EXPECT_FALSE(begun->Write("late"));
  begun->Finish();
  waiting->Send({.body = "late"});
  begun.reset();
  waiting.reset();
  EXPECT_THAT(client_->ReadAll(), Not(HasSubstr("late")));
  EXPECT_EQ(hung_up, 2);
}

}  // namespace
}  // namespace droidspeak

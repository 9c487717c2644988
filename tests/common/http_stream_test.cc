// SPDX-License-Identifier: Apache-2.0
// Answers that come later or in pieces.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/http_server.h"
#include "common/base/thread.h"
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
using ::testing::StartsWith;
using HttpStreamTest = HttpLaterFixture;

// The body of a chunked answer, with a '|' after each chunk; says so when it is not well formed or goes on.
std::string Chunks(const std::string& answer) {
  std::string body;
  size_t at = answer.find("\r\n\r\n") + 4;
  while (at < answer.size()) {
    const size_t size = std::stoul(answer.substr(at), nullptr, 16);
    at = answer.find("\r\n", at) + 2;
    if (answer.substr(at + size, 2) != "\r\n") return body + " truncated";
    if (size == 0) return at + 2 == answer.size() ? body : body + " and more";
    body += answer.substr(at, size) + "|";
    at += size + 2;
  }
  return body + " without an end";
}

TEST_F(HttpStreamTest, AnAnswerMayComeLaterFromAnotherThread) {
  Start({.request_timeout_ms = 500});
  const Reply reply = Ask("POST /post HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi");
  HttpClient other(server_->address());  // is cut off after the time that would be too long for a request
  EXPECT_EQ(other.ReadAll(), "");
  Thread thread("answer", [&](const std::stop_token&) { reply->Send({.status = 201, .body = "made"}); });
  EXPECT_THAT(client_->ReadUntil("made"), AllOf(StartsWith("HTTP/1.1 201"), EndsWith("\r\n\r\nmade")));
}

TEST_F(HttpStreamTest, OnlyTheFirstAnswerCounts) {
  Start();
  const Reply reply = Ask("GET /get HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_FALSE(reply->Write("too early"));
  reply->Finish();
  reply->Send({.body = "first"});
  reply->Send({.body = "second"});
  reply->Begin(200, "text/plain");
  EXPECT_FALSE(reply->Write("too late"));
  EXPECT_THAT(client_->ReadAll(), AllOf(StartsWith("HTTP/1.1 200"), EndsWith("\r\n\r\nfirst")));
}

TEST_F(HttpStreamTest, AnAnswerInPiecesIsChunkedAndComplete) {
  Start();
  const Reply reply = Ask(kGet);
  reply->Begin(200, "text/event-stream");
  const std::string head = client_->ReadUntil("\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, AllOf(HasSubstr("Content-Type: text/event-stream\r\n"), HasSubstr("Cache-Control: no-cache\r\n"),
                          HasSubstr("X-Accel-Buffering: no\r\n"), HasSubstr("Transfer-Encoding: chunked\r\n")));
  EXPECT_TRUE(reply->Write("one"));
  EXPECT_EQ(client_->ReadUntil("one\r\n"), "3\r\none\r\n");  // what is written arrives before what follows it
  EXPECT_TRUE(reply->Write(""));
  EXPECT_TRUE(reply->Write("two"));
  EXPECT_TRUE(reply->Write(std::string(100000, 'x')));
  reply->Finish();
  EXPECT_FALSE(reply->Write("more"));
  std::string body = Chunks("\r\n\r\n" + client_->ReadUntil("0\r\n\r\n"));
  std::erase(body, '|');
  EXPECT_EQ(body, "two" + std::string(100000, 'x'));
  client_->Send("GET /now HTTP/1.1\r\n\r\n");  // the connection goes on
  EXPECT_THAT(client_->ReadUntil("now"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpStreamTest, WithoutChunksAnAnswerInPiecesEndsWithTheConnection) {
  Start();
  const Reply reply = Ask("GET /get HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  reply->Begin(200, "text/plain");
  EXPECT_TRUE(reply->Write("one"));
  EXPECT_THAT(client_->ReadUntil("one"), Not(HasSubstr("chunked")));
  EXPECT_TRUE(reply->Write("two"));
  reply->Finish();
  EXPECT_EQ(client_->ReadAll(), "two");
  EXPECT_EQ(client_->end(), boost::asio::error::eof);
}

TEST_F(HttpStreamTest, HeadOfAnAnswerInPiecesHasNone) {
  Start();
  const Reply reply = Ask("HEAD /get HTTP/1.1\r\nConnection: close\r\n\r\n");
  reply->Begin(200, "text/plain");
  EXPECT_TRUE(reply->Write("one"));
  reply->Finish();
  EXPECT_THAT(client_->ReadAll(), AllOf(StartsWith("HTTP/1.1 200"), EndsWith("\r\n\r\n")));
}

TEST_F(HttpStreamTest, TheNextRequestWaitsForTheAnswerToTheFirst) {
  Start();
  const std::string second = "POST /post HTTP/1.1\r\nConnection: close\r\nContent-Length: 6\r\n\r\nsecond";
  client_->Send("POST /post HTTP/1.1\r\nContent-Length: 5\r\n\r\nfirst" + second);
  const auto first = requests_.Next();
  EXPECT_EQ(first.first.body, "first");
  first.second->Begin(200, "text/plain");
  EXPECT_TRUE(first.second->Write("1"));
  EXPECT_THAT(client_->ReadUntil("1\r\n1\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(requests_.empty());
  first.second->Finish();
  const auto next = requests_.Next();
  EXPECT_EQ(next.first.body, "second");
  next.second->Send({.body = "2"});
  EXPECT_THAT(client_->ReadAll(), AllOf(StartsWith("0\r\n\r\nHTTP/1.1 200"), EndsWith("\r\n\r\n2")));
}

TEST_F(HttpStreamTest, AReplyThatIsDroppedIsAnError) {
  Start();
  Ask("GET /get HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client_->ReadAll(), AllOf(StartsWith("HTTP/1.1 500"), HasSubstr("\r\n\r\nerror 500: ")));
}

TEST_F(HttpStreamTest, AnAnswerThatIsDroppedInTheMiddleIsSeenToBeTruncated) {
  Start();
  for (const std::string version : {"1.1", "1.0"}) {
    HttpClient client(server_->address());
    client.Send(absl::StrCat("GET /get HTTP/", version, "\r\n\r\n"));
    Reply reply = requests_.Next().second;
    reply->Begin(200, "text/plain");
    EXPECT_TRUE(reply->Write("one"));
    EXPECT_THAT(client.ReadUntil("one"), EndsWith("one"));
    reply.reset();
    EXPECT_THAT(client.ReadAll(), Not(HasSubstr("0\r\n")));
    EXPECT_EQ(client.end(), version == "1.1" ? boost::asio::error::eof
                                             : boost::system::error_code(boost::asio::error::connection_reset));
  }
}

TEST_F(HttpStreamTest, DrainClosesIdleConnectionsAndCompletesAnswers) {
  Start({.request_timeout_ms = 600000});
  HttpClient idle(server_->address());
  idle.Send("GET /now HTTP/1.1\r\n\r\n");
  EXPECT_THAT(idle.ReadUntil("now"), Not(HasSubstr("Connection: close")));
  auto streamed = std::make_unique<HttpClient>(server_->address());
  streamed->Send(kGet);
  const Reply begun = requests_.Next().second;
  begun->Begin(200, "text/plain");
  EXPECT_THAT(streamed->ReadUntil("\r\n\r\n"), Not(HasSubstr("Connection: close")));
  const Reply waiting = Ask(kGet);

  server_->Drain();
  EXPECT_EQ(idle.ReadAll(), "");
  EXPECT_EQ(idle.end(), boost::asio::error::eof);
  EXPECT_THROW(HttpClient{server_->address()}, boost::system::system_error);
  EXPECT_FALSE(server_->WaitIdle(absl::Now()));
  begun->Write("one");
  begun->Finish();
  EXPECT_EQ(Chunks("\r\n\r\n" + streamed->ReadAll()), "one|");
  EXPECT_EQ(streamed->end(), boost::asio::error::eof);
  waiting->Send({.body = "done"});
  EXPECT_THAT(client_->ReadAll(), AllOf(HasSubstr("Connection: close\r\n"), EndsWith("done")));
  streamed.reset();
  client_.reset();
  EXPECT_TRUE(server_->WaitIdle(absl::Now() + absl::FromChrono(kWaitLimit)));
}

}  // namespace
}  // namespace droidspeak

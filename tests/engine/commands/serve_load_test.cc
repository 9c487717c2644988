// SPDX-License-Identifier: Apache-2.0
// `serve` under many clients, some of which behave badly, and its end.
#include <signal.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/thread.h"
#include "gmock/gmock.h"
#include "tests/engine/commands/serve_fixture.h"

namespace droidspeak {
namespace {

using nlohmann::json;

constexpr char kCancelled[] = "requests_total{outcome=\"cancelled\"}";
#ifdef DROIDSPEAK_SANITIZED
constexpr int kManyTokens = 80;  // everything takes several times as long
#else
constexpr int kManyTokens = 300;
#endif

// An answer that is drawn, the same for the same seed.
json Drawn(const std::string& prompt, int max_tokens, int seed) {
  return {{"prompt", prompt}, {"max_tokens", max_tokens}, {"ignore_eos", true}, {"seed", seed}};
}

class ServeLoadTest : public ServeTest {
 protected:
  // Nothing is left of clients that are gone.
  void ExpectIdle() const {
    EXPECT_TRUE(WaitForMetric("running", 0));
    EXPECT_TRUE(WaitForMetric("queue_length", 0));
    EXPECT_TRUE(WaitForMetric("kv_slots{state=\"running\"}", 0));
  }
};

TEST_F(ServeLoadTest, AFullQueueIsRefusedAndMovesUpWhenAClientHangsUp) {
  Serve({"--max-running=1", "--max-waiting=2"});
  const std::string expected = TextOf(Ask(kCompletions, Greedy(kPrompt)));
  ASSERT_TRUE(WaitForMetric("running", 0));  // an answer is sent before it is counted as ended
  std::unique_ptr<HttpCall> running = Send(kCompletions, Endless(kPrompt));
  ASSERT_TRUE(WaitForMetric("running", 1));
  ASSERT_TRUE(WaitForMetric("queue_length", 0));
  std::vector<std::unique_ptr<ApiStream>> waiting;
  for (int i = 1; i <= 2; ++i) {
    waiting.push_back(Stream(kCompletions, Greedy(kPrompt)));
    ASSERT_TRUE(WaitForMetric("queue_length", i));
  }
  const HttpAnswer refused = Post(kCompletions, Greedy(kPrompt));
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_EQ(json::parse(refused.body).at("error").at("type"), "rate_limit_error");
  EXPECT_EQ(Metric("requests_total{outcome=\"rejected\"}"), 1);
  EXPECT_EQ(Metric(kCancelled), 0);
  running.reset();
  for (const auto& stream : waiting) {
    stream->ReadAll();
    EXPECT_TRUE(stream->done());
    EXPECT_EQ(stream->text(), expected);
  }
  EXPECT_TRUE(WaitForMetric(kCancelled, 1));
  ExpectIdle();
}

TEST_F(ServeLoadTest, ClientsThatHangUpLeaveNothingBehind) {
  Serve({"--max-running=1"});
  std::unique_ptr<ApiStream> streamed = Stream(kCompletions, Endless(kPrompt));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(streamed->Next());
  std::unique_ptr<ApiStream> waiting_stream = Stream(kChat, {{"messages", Turn(kPrompt)}, {"max_tokens", 9}});
  std::unique_ptr<HttpCall> waiting = Send(kCompletions, Endless(kPrompt));
  ASSERT_TRUE(WaitForMetric("queue_length", 2));
  EXPECT_EQ(Metric("running"), 1);
  // Those that wait first: they must not need the one that runs to end.
  waiting.reset();
  waiting_stream.reset();
  EXPECT_TRUE(WaitForMetric(kCancelled, 2));
  EXPECT_EQ(Metric("running"), 1);
  streamed.reset();
  EXPECT_TRUE(WaitForMetric(kCancelled, 3));
  ExpectIdle();
  Ask(kCompletions, Greedy(kPrompt));
}

TEST_F(ServeLoadTest, AClientThatStopsReadingIsCutOffAndOthersGoOn) {
  Serve();
  const json other = Drawn(kPrompt, 48, 3);
  const std::string alone = TextOf(Ask(kCompletions, other));
  const auto stream = Stream(kChat, {{"messages", Turn(kPrompt)},
                                     {"max_tokens", 100'000},
                                     {"ignore_eos", true},
                                     {"logprobs", true},
                                     {"top_logprobs", 20}});
  ASSERT_TRUE(stream->Next());
  EXPECT_EQ(TextOf(Ask(kCompletions, other)), alone);
  EXPECT_TRUE(WaitForMetric(kCancelled, 1));
  ExpectIdle();
  stream->ReadAll();  // what its system had taken
  EXPECT_FALSE(stream->done());
}

TEST_F(ServeLoadTest, ASeedGivesTheSameAnswersBesideOthers) {
  Serve();
  json body = Drawn(kPrompt, 48, 11);
  body["n"] = 3;
  const json alone = Ask(kCompletions, body).at("choices");
  std::vector<std::unique_ptr<HttpCall>> others;
  others.reserve(6);
  for (int i = 0; i < 6; ++i) others.push_back(Send(kCompletions, Endless(absl::StrCat("The fox number ", i))));
  ASSERT_TRUE(WaitForMetric("running", 6));
  const json beside = Ask(kCompletions, body).at("choices");
  EXPECT_GE(Metric("running"), 6) << "the test shows nothing";
  EXPECT_EQ(beside, alone);
  others.clear();
  EXPECT_TRUE(WaitForMetric(kCancelled, 6));
  ExpectIdle();
}

// 64 clients at the same time: a quarter hangs up in the middle, some read slowly.
class Crowd {
 public:
  static constexpr int kClients = 64;

  static bool HangsUp(int client) { return client % 4 == 3; }
  static bool IsSlow(int client) { return client % 8 == 1; }

  // The slow ones have much to read.
  static json Question(int client) {
    const std::string prompt = absl::StrCat("The brown dog number ", client, " sleeps over the cache.");
    if (HangsUp(client)) return Endless(prompt);
    json body = Drawn(prompt, IsSlow(client) ? kManyTokens : 48, client);
    if (IsSlow(client)) body["logprobs"] = 5;
    return body;
  }

  // What became of it: the text of a whole answer; "" of one that is not.
  std::string Read(int client, ApiStream& stream) {
    if (HangsUp(client)) {
      for (int event = 0; event < 5; ++event) EXPECT_TRUE(stream.Next()) << client;
      return "";
    }
    if (IsSlow(client)) {
      EXPECT_TRUE(stream.Next()) << client;
      EXPECT_TRUE(others_ended_.WaitForNotificationWithTimeout(kPatience));
    }
    stream.ReadAll();
    return stream.done() ? stream.text() : "";
  }
  void OthersEnded() { others_ended_.Notify(); }

 private:
  absl::Notification others_ended_;
};

TEST_F(ServeLoadTest, SlowClientsAndSuchThatHangUpChangeNothingForTheOthers) {
  Serve();
  std::vector<std::string> alone(Crowd::kClients), together(Crowd::kClients);
  for (int client = 0; client < Crowd::kClients; ++client) {
    if (!Crowd::HangsUp(client)) alone[client] = TextOf(Ask(kCompletions, Crowd::Question(client)));
  }
  Crowd crowd;
  std::vector<std::unique_ptr<Thread>> slow, others;
  for (int client = 0; client < Crowd::kClients; ++client) {
    auto body = [this, &crowd, &together, client](const std::stop_token&) {
      const std::unique_ptr<ApiStream> stream = Stream(kCompletions, Crowd::Question(client));
      together[client] = crowd.Read(client, *stream);
    };
    (Crowd::IsSlow(client) ? slow : others).push_back(std::make_unique<Thread>("client", std::move(body)));
  }
  others.clear();  // waits for them
  crowd.OthersEnded();
  slow.clear();
  for (int client = 0; client < Crowd::kClients; ++client) EXPECT_EQ(together[client], alone[client]) << client;
  EXPECT_TRUE(WaitForMetric(kCancelled, double{Crowd::kClients} / 4));
  ExpectIdle();
}

TEST_F(ServeLoadTest, OnSigtermStreamsCompleteNewConnectionsAreRefusedAndItExitsWithZero) {
  Serve();
  json body = Drawn(kPrompt, 4 * kManyTokens, 21);
  body["logprobs"] = 0;  // so that each token is an event
  body["stream_options"]["include_usage"] = true;
  std::vector<std::unique_ptr<ApiStream>> streams;
  for (int i = 0; i < 4; ++i) {
    streams.push_back(Stream(kCompletions, body));
    ASSERT_TRUE(streams.back()->Next());
  }
  engine_->Signal(SIGTERM);
  const absl::Time limit = absl::Now() + kPatience;
  while (HttpCall(address(), {.path = "/livez"}).connected()) {
    ASSERT_LT(absl::Now(), limit) << "it still takes connections";
    absl::SleepFor(absl::Milliseconds(5));
  }
  for (const auto& stream : streams) {
    stream->ReadAll();
    EXPECT_TRUE(stream->done());
    EXPECT_EQ(stream->finish_reason(), "length");
    EXPECT_EQ(stream->chunks().back().at("usage").at("completion_tokens"), 4 * kManyTokens);
  }
  streams.clear();  // a connection that its client leaves open is waited for, for some seconds
  EXPECT_EQ(engine_->Wait(), 0);
}

TEST_F(ServeLoadTest, SigtermAndSigintEndAnIdleEngine) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Serve();
    Ask(kCompletions, Greedy(kPrompt));
    engine_->Signal(signal);
    EXPECT_EQ(engine_->Wait(), 0) << signal;
  }
}

}  // namespace
}  // namespace droidspeak

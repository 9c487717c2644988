// SPDX-License-Identifier: Apache-2.0
#include "common/base/http_server.h"

#include <chrono>
#include <list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/http_client.h"

namespace droidspeak {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kClose[] = " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(HttpLimits limits = {}, HttpServer::ErrorBody error_body = nullptr) {
    HttpServer::Routes routes;
    routes["/livez"] = GetRoute([] { return HttpResponse{200, "text/plain", "ok\n"}; });
    routes["/readyz"] = GetRoute([] { return HttpResponse{503, "text/plain", "filling\n"}; });
    routes["/echo"] = {
        .post = true, .handler = [](const HttpRequest& request, const std::shared_ptr<HttpReply>& reply) {
          reply->Send(
              {.body = absl::StrCat(request.method, " ", request.path, " ", request.authorization, " ", request.body)});
        }};
    server_ = HttpServer::Start({"127.0.0.1", 0}, routes, limits, std::move(error_body)).value();
  }
  // All that the server says to `request`, until it closes.
  std::string Ask(const std::string& request) {
    HttpClient client(server_->address());
    client.Send(request);
    return client.ReadAll();
  }

  std::unique_ptr<HttpServer> server_;
};

std::string Post(const std::string& fields, const std::string& body) {
  return absl::StrCat("POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", fields, "\r\n", body);
}

TEST_F(HttpServerTest, PathsAreAnsweredByTheirHandlers) {
  Start();
  EXPECT_NE(server_->address().port, 0);
  const std::string answer = Ask(absl::StrCat("GET /livez?verbose", kClose));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nok\n"));
  EXPECT_THAT(Ask(absl::StrCat("GET /readyz", kClose)), StartsWith("HTTP/1.1 503"));
}

TEST_F(HttpServerTest, HeadHasTheLengthOfABodyThatIsNotSent) {
  Start();
  EXPECT_THAT(Ask(absl::StrCat("HEAD /livez", kClose)),
              AllOf(HasSubstr("Content-Length: 3\r\n"), EndsWith("\r\n\r\n")));
}

TEST_F(HttpServerTest, OtherPathsAndMethodsAreRefusedAndTheConnectionGoesOn) {
  Start();
  HttpClient client(server_->address());
  client.Send("GET /other HTTP/1.1\r\n\r\n");
  EXPECT_THAT(client.ReadUntil("\n\r\n"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(client.ReadUntil("\n"), AllOf(HasSubstr("/livez"), HasSubstr("/echo")));
  client.Send("DELETE /livez HTTP/1.1\r\n\r\n");
  EXPECT_THAT(client.ReadUntil("\n\r\n"), AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET, HEAD\r\n")));
  client.ReadUntil("\n");
  client.Send(absl::StrCat("GET /echo", kClose));
  EXPECT_THAT(client.ReadAll(), AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: POST\r\n")));
}

TEST_F(HttpServerTest, ErrorsHaveTheBodyThatTheOwnerMakes) {
  Start({}, [](int status, const std::string& message) {
    return HttpResponse{.content_type = "application/json", .body = absl::StrCat("{", status, message.empty(), "}")};
  });
  EXPECT_THAT(Ask(absl::StrCat("GET /other", kClose)),
              AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("application/json"), EndsWith("\r\n\r\n{4040}")));
  EXPECT_THAT(Ask("nonsense\r\n\r\n"), AllOf(StartsWith("HTTP/1.1 400"), EndsWith("\r\n\r\n{4000}")));
}

TEST_F(HttpServerTest, OneConnectionServesSeveralRequests) {
  Start();
  const std::string answer = Ask(absl::StrCat("GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET /readyz", kClose));
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("503"));
}

TEST_F(HttpServerTest, ARequestThatIsNoneOrTooLargeIsToldSoAndEndsTheConnection) {
  Start();
  EXPECT_THAT(Ask("\x01\x02 nonsense\r\n\r\n"), AllOf(StartsWith("HTTP/1.1 400"), HasSubstr("Connection: close")));
  EXPECT_THAT(Ask("GET /livez HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(Ask("GET /livez HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789"), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Ask("GET /livez HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Ask(absl::StrCat("GET /livez", kClose)), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, APostHasABody) {
  Start({.body_bytes = 10});
  EXPECT_THAT(Ask(Post("Content-Length: 10\r\nAuthorization: Bearer k\r\n", "0123456789")),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("\r\n\r\nPOST /echo Bearer k 0123456789")));
  EXPECT_THAT(Ask(Post("Content-Length: 0\r\n", "")), EndsWith("\r\n\r\nPOST /echo  "));
  EXPECT_THAT(Ask(Post("Transfer-Encoding: chunked\r\n", "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n")),
              EndsWith("POST /echo  0123456789"));
}

TEST_F(HttpServerTest, ABodyOfUnknownOrTooGreatLengthIsRefused) {
  Start({.body_bytes = 10});
  EXPECT_THAT(Ask(Post("", "0123456789")), StartsWith("HTTP/1.1 411"));
  EXPECT_THAT(Ask(Post("Content-Length: 11\r\n", "0123456789a")),
              AllOf(StartsWith("HTTP/1.1 413"), HasSubstr(" 10 bytes")));
  EXPECT_THAT(Ask(Post("Transfer-Encoding: chunked\r\n", "a\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n")),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Ask(Post("Transfer-Encoding: chunked\r\n", "no number\r\n")), StartsWith("HTTP/1.1 400"));
}

TEST_F(HttpServerTest, AClientThatIsStillSendingSeesTheRefusal) {
  Start({.body_bytes = 1000});
  std::string body;
  body.resize(10'000'000, 'x');
  EXPECT_THAT(Ask(Post(absl::StrCat("Content-Length: ", body.size(), "\r\n"), body)), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Ask(absl::StrCat("POST /other HTTP/1.1\r\nContent-Length: ", body.size(), "\r\n\r\n", body)),
              AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("Connection: close")));
}

TEST_F(HttpServerTest, AClientThatAsksMaySendItsBodyUnlessItIsTooLarge) {
  Start({.body_bytes = 10});
  HttpClient client(server_->address());
  client.Send(Post("Expect: 100-continue\r\nContent-Length: 3\r\n", ""));
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("abc");
  EXPECT_THAT(client.ReadAll(), AllOf(StartsWith("HTTP/1.1 200"), EndsWith(" abc")));
  EXPECT_THAT(Ask(Post("Expect: 100-continue\r\nContent-Length: 11\r\n", "")), StartsWith("HTTP/1.1 413"));
}

TEST_F(HttpServerTest, AClientThatSendsNoWholeRequestIsCutOff) {
  Start({.body_bytes = 10, .request_timeout_ms = 50});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Ask("GET /livez HTTP/1.1\r\nHost:"), "");
  EXPECT_EQ(Ask(Post("Content-Length: 3\r\n", "ab")), "");
  EXPECT_EQ(Ask(""), "");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(HttpServerTest, ManyConnectionsAreServedAtOnce) {
  Start({.body_bytes = 100});
  std::list<HttpClient> clients;
  for (int i = 0; i < 64; ++i) {
    clients.emplace_back(server_->address()).Send("POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\n");
  }
  int i = 100;
  for (HttpClient& client : clients) client.Send(absl::StrCat(++i, "ab"));
  i = 100;
  for (HttpClient& client : clients) EXPECT_THAT(client.ReadUntil("ab"), EndsWith(absl::StrCat(" ", ++i, "ab")));
}

TEST_F(HttpServerTest, ConnectionsBeyondTheLimitAreClosedUntilOthersEnd) {
  Start({.connections = 2, .request_timeout_ms = 60000});
  {
    HttpClient first(server_->address());
    HttpClient second(server_->address());
    EXPECT_EQ(Ask(absl::StrCat("GET /livez", kClose)), "");
  }
  std::string answer;  // the server hears of the two ends soon
  const auto limit = std::chrono::steady_clock::now() + kWaitLimit;
  while (answer.empty() && std::chrono::steady_clock::now() < limit) answer = Ask(absl::StrCat("GET /livez", kClose));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, StopEndsOpenConnectionsAtOnce) {
  Start({.request_timeout_ms = 600000});
  const HostPort address = server_->address();
  HttpClient client(address);
  client.Send("GET /livez HTTP/1.1\r\n");
  server_->Stop();
  server_->Stop();
  server_->Drain();
  server_.reset();
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_THROW(HttpClient{address}, boost::system::system_error);
}

TEST_F(HttpServerTest, AnAddressInUseIsUnavailableAndNamed) {
  Start();
  const absl::Status status = HttpServer::Start(server_->address(), {}).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(status.message(), HasSubstr(server_->address().ToString()));
}

}  // namespace
}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "common/base/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using tcp = boost::asio::ip::tcp;

// A client that speaks bytes.
class Client {
 public:
  explicit Client(const HostPort& server) : socket_(context_) {
    socket_.connect({boost::asio::ip::make_address(server.host), server.port});
  }
  void Send(const std::string& text) {
    boost::system::error_code ignored;
    boost::asio::write(socket_, boost::asio::buffer(text), ignored);
  }
  // What comes until the server closes.
  std::string ReadAll() {
    std::string text;
    boost::system::error_code closed;
    boost::asio::read(socket_, boost::asio::dynamic_buffer(text), closed);
    return text;
  }

 private:
  boost::asio::io_context context_;
  tcp::socket socket_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(HttpLimits limits = {}) {
    server_ = HttpServer::Start({"127.0.0.1", 0},
                                {{"/livez",
                                  [] {
                                    return HttpResponse{200, "text/plain", "ok\n"};
                                  }},
                                 {"/readyz",
                                  [] {
                                    return HttpResponse{503, "text/plain", "filling\n"};
                                  }}},
                                limits)
                  .value();
  }
  std::string Ask(const std::string& request) {
    Client client(server_->address());
    client.Send(request);
    return client.ReadAll();
  }

  std::unique_ptr<HttpServer> server_;
};

constexpr char kClose[] = " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

TEST_F(HttpServerTest, PathsAreAnsweredByTheirHandlers) {
  Start();
  EXPECT_NE(server_->address().port, 0);
  const std::string answer = Ask(std::string("GET /livez?verbose") + kClose);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nok\n"));
  EXPECT_THAT(Ask(std::string("GET /readyz") + kClose), StartsWith("HTTP/1.1 503"));
}

TEST_F(HttpServerTest, HeadHasNoBodyOtherPathsAndMethodsAreRefused) {
  Start();
  EXPECT_THAT(Ask(std::string("HEAD /livez") + kClose), EndsWith("\r\n\r\n"));
  EXPECT_THAT(Ask(std::string("GET /other") + kClose), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Ask(std::string("DELETE /livez") + kClose), StartsWith("HTTP/1.1 405"));
}

TEST_F(HttpServerTest, OneConnectionServesSeveralRequests) {
  Start();
  const std::string answer = Ask(std::string("GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET /readyz") + kClose);
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("503"));
}

TEST_F(HttpServerTest, ARequestThatIsNoneOrTooLargeEndsTheConnection) {
  Start();
  EXPECT_EQ(Ask("\x01\x02 nonsense\r\n\r\n"), "");
  EXPECT_EQ(Ask("GET /livez HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n"), "");
  EXPECT_EQ(Ask("GET /livez HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789"), "");
  EXPECT_THAT(Ask(std::string("GET /livez") + kClose), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, AClientThatSendsNoWholeRequestIsCutOff) {
  Start({.request_timeout_ms = 50});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Ask("GET /livez HTTP/1.1\r\nHost:"), "");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(HttpServerTest, ConnectionsBeyondTheLimitAreClosedUntilOthersEnd) {
  Start({.connections = 2, .request_timeout_ms = 60000});
  {
    Client first(server_->address());
    Client second(server_->address());
    EXPECT_EQ(Ask(std::string("GET /livez") + kClose), "");
  }
  std::string answer;  // the server hears of the two ends soon
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (answer.empty() && std::chrono::steady_clock::now() < limit) answer = Ask(std::string("GET /livez") + kClose);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, StopEndsOpenConnectionsAtOnce) {
  Start({.request_timeout_ms = 600000});
  const HostPort address = server_->address();
  Client client(address);
  client.Send("GET /livez HTTP/1.1\r\n");
  server_->Stop();
  server_->Stop();
  server_.reset();
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_THROW(Client{address}, boost::system::system_error);
}

TEST_F(HttpServerTest, AnAddressInUseIsUnavailableAndNamed) {
  Start();
  const absl::Status status = HttpServer::Start(server_->address(), {}).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(status.message(), HasSubstr(server_->address().ToString()));
}

}  // namespace
}  // namespace droidspeak

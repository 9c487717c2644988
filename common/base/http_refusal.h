// SPDX-License-Identifier: Apache-2.0
// Which requests an HttpServer refuses by itself, and in which words.
#pragma once

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/error_code.hpp>
#include <optional>
#include <string>

#include "common/base/http_server.h"

namespace droidspeak {

using HttpParser = boost::beast::http::request_parser<boost::beast::http::string_body>;

struct HttpRefusal {
  int status;
  std::string message;
  std::string allow;  // with 405
};

// What is wrong with the header that `parser` has read; nothing: one of `routes` takes it.
[[nodiscard]] std::optional<HttpRefusal> RefusalOf(const HttpParser& parser, const std::string& path,
                                                   const HttpServer::Routes& routes, const HttpLimits& limits);
// What was wrong with a request that could not be read; nothing: it was the connection that failed or ended.
[[nodiscard]] std::optional<HttpRefusal> RefusalOf(const boost::system::error_code& error, const HttpLimits& limits);

}  // namespace droidspeak

// SPDX-License-Identifier: Apache-2.0
#include "common/base/http_refusal.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace droidspeak {
namespace {

namespace http = boost::beast::http;

std::string Paths(const HttpServer::Routes& routes) {
  return absl::StrJoin(routes, ", ", [](std::string* out, const auto& route) { out->append(route.first); });
}

HttpRefusal TooLarge(const HttpLimits& limits) {
  return {413, absl::StrCat("a body may have ", limits.body_bytes, " bytes at most")};
}

}  // namespace

// The messages quote nothing of the request, whose bytes may be of any kind.
std::optional<HttpRefusal> RefusalOf(const HttpParser& parser, const std::string& path,
                                     const HttpServer::Routes& routes, const HttpLimits& limits) {
  const auto& request = parser.get();
  if (!parser.chunked() && request.count(http::field::transfer_encoding) > 0) {
    return HttpRefusal{400, "the only Transfer-Encoding taken is chunked"};
  }
  const auto route = routes.find(path);
  if (route == routes.end()) return HttpRefusal{404, absl::StrCat("no such path; there are ", Paths(routes))};
  const bool post = request.method() == http::verb::post;
  const bool get = request.method() == http::verb::get || request.method() == http::verb::head;
  if (route->second.post && !post) return HttpRefusal{405, "this path takes POST only", "POST"};
  if (!route->second.post && !get) return HttpRefusal{405, "this path takes GET and HEAD only", "GET, HEAD"};
  if (post && !parser.chunked() && !parser.content_length().has_value()) {
    return HttpRefusal{411, "a POST needs a Content-Length, or chunked encoding"};
  }
  if (parser.content_length().value_or(0) > limits.body_bytes) return TooLarge(limits);
  return std::nullopt;
}

std::optional<HttpRefusal> RefusalOf(const boost::system::error_code& error, const HttpLimits& limits) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return HttpRefusal{431, absl::StrCat("a header may have ", limits.header_bytes, " bytes at most")};
  }
  if (error == http::error::body_limit) return TooLarge(limits);
  const bool ended = error == http::error::end_of_stream || error == http::error::partial_message;
  const bool parser_says = error.category() == make_error_code(http::error::bad_method).category();
  if (ended || !parser_says) return std::nullopt;
  return HttpRefusal{400, absl::StrCat("this is no HTTP/1.1 request: ", error.message())};
}

}  // namespace droidspeak

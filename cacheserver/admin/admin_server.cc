// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/admin/admin_server.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace droidspeak {

absl::StatusOr<std::unique_ptr<HttpServer>> StartAdminServer(const HostPort& address, const Metrics& metrics,
                                                             std::function<Readiness()> readiness) {
  HttpServer::Routes routes;
  routes["/livez"] = GetRoute([] { return HttpResponse{.body = "ok\n"}; });
  routes["/readyz"] = GetRoute([readiness = std::move(readiness)] {
    const Readiness now = readiness();
    if (!now.ready) return HttpResponse{.status = 503, .body = "not ready\n"};
    return HttpResponse{.body = now.degraded.empty() ? "ok\n" : absl::StrCat("degraded: ", now.degraded, "\n")};
  });
  routes["/metrics"] = GetRoute([&metrics] {
    return HttpResponse{.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics.Text()};
  });
  return HttpServer::Start(address, std::move(routes));
}

}  // namespace droidspeak

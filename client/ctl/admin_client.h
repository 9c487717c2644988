// SPDX-License-Identifier: Apache-2.0
// The admin service of one server, as droidspeak-ctl calls it.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/tls_files.h"
#include "droidspeak/client.h"
#include "droidspeak/v1/admin.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace droidspeak::ctl {

// Blocking calls, each with a deadline. Not thread-safe.
class AdminClient {
 public:
  // Asks for the server's status. UNAVAILABLE when it can't be reached; FAILED_PRECONDITION when it has another name
  // than `server` says; whatever it refuses the call with.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AdminClient>> Connect(const ServerAddress& server,
                                                                            const TlsFiles& tls);

  // As it was at Connect().
  const v1::StatusResponse& status() const { return status_; }

  // What looks something up is answered within kLook; what changes many blocks may take kChange.
  static constexpr absl::Duration kLook = absl::Seconds(30);
  static constexpr absl::Duration kChange = absl::Minutes(10);
  template <typename Method, typename Request, typename Response>
  absl::Status Call(Method method, const Request& request, Response& response, absl::Duration timeout = kLook) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }

 private:
  explicit AdminClient(std::unique_ptr<v1::Admin::Stub> stub) : stub_(std::move(stub)) {}

  std::unique_ptr<v1::Admin::Stub> stub_;
  v1::StatusResponse status_;
};

}  // namespace droidspeak::ctl

// SPDX-License-Identifier: Apache-2.0
#include "common/transport/ucx/ucx_transport.h"

#include <ucp/api/ucp.h>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/ucx/ucx_engine.h"
#include "common/transport/ucx/ucx_worker.h"

namespace droidspeak {

std::string UcxTransport::version() const {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  ucp_get_version(&major, &minor, &release);
  return absl::StrCat(major, ".", minor);
}

absl::StatusOr<std::string> UcxTransport::Resolve(const std::string& address) const {
  ASSIGN_OR_RETURN(const SocketAddress found, ucx::ResolveForUcx(address));
  return found.ToString();
}

absl::StatusOr<std::unique_ptr<Worker>> UcxTransport::CreateWorker() const {
  return ucx::UcxWorker::Create();
}

}  // namespace droidspeak

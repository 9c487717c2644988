// SPDX-License-Identifier: Apache-2.0
// The transports that this build has.
#include "absl/strings/str_cat.h"
#include "common/base/text.h"
#include "common/transport/local/local_transport.h"
#include "common/transport/tcp/tcp_transport.h"
#include "common/transport/transport.h"
#include "common/transport/ucx/ucx_transport.h"

namespace droidspeak {

absl::StatusOr<const Transport*> FindTransport(std::string_view name) {
  static const LocalTransport local;
  static const TcpTransport tcp;
  static const UcxTransport ucx;
  for (const Transport* transport : {static_cast<const Transport*>(&local), static_cast<const Transport*>(&tcp),
                                     static_cast<const Transport*>(&ucx)}) {
    if (name == transport->name()) return transport;
  }
  return absl::NotFoundError(absl::StrCat("no transport \"", ToAbsl(name), "\"; there are local, tcp and ucx"));
}

}  // namespace droidspeak
